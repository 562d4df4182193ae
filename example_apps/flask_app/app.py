"""Gumleaf on Flask: a small site that records what its visitors do.

`make demo` runs it beside the other sites; `flask --app example_apps/flask_app/app.py run` runs it alone.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from flask import Flask, abort, redirect, render_template, session, url_for
from flask.typing import ResponseReturnValue
from werkzeug.security import check_password_hash, generate_password_hash

from koala_middleware.flask import Koala, request
from koala_middleware.snippet import snippet

PLANS = {"free": "Free", "pro": "Pro", "team": "Team"}

app = Flask(__name__)
app.config.from_mapping(
    SECRET_KEY=os.environ.get("SECRET_KEY", "only for the demo"),
    SESSION_COOKIE_SAMESITE="Lax",  # a form on another site cannot act for our visitor
    SESSION_COOKIE_NAME="gumleaf_flask",  # browsers share cookies between the ports of 127.0.0.1
    KOALA_PUBLIC_API_KEY=os.environ.get("KOALA_PUBLIC_API_KEY", "pk_demo"),
    KOALA_ENDPOINT=os.environ.get("KOALA_ENDPOINT", "http://localhost:8600"),
    KOALA_EXCLUDE_PATHS=["/static/*"],  # a style sheet is not a visit
)

Koala(app)

# Optional: the browser script records page views. It shares the visitor's cookie with the handlers below.
app.jinja_env.globals["koala_script"] = snippet(
    app.config["KOALA_PUBLIC_API_KEY"], app.config["KOALA_ENDPOINT"]
)


@dataclass
class Member:
    email: str
    name: str
    password_hash: str
    plan: str = "free"


members: dict[str, Member] = {}  # by email; a real site has a database


def current_member() -> Member | None:
    return members.get(session.get("email", ""))


@app.context_processor
def member_for_templates() -> dict[str, object]:
    return {"member": current_member(), "plans": PLANS}


@app.get("/")
def landing() -> ResponseReturnValue:
    return render_template("landing.html")


@app.get("/pricing")
def pricing() -> ResponseReturnValue:
    request.koala.track("Viewed Pricing")
    return render_template("pricing.html")


@app.get("/signup")
def signup_form() -> ResponseReturnValue:
    return render_template("signup.html")


@app.post("/signup")
def signup() -> ResponseReturnValue:
    email, name = request.form["email"].strip().lower(), request.form["name"].strip()
    if email in members:
        return render_template("signup.html", error="This email already has an account. Log in instead."), 409
    members[email] = Member(email, name, generate_password_hash(request.form["password"]))
    session["email"] = email

    # From now on, everything that this browser did and does belongs to this person.
    request.koala.identify(email, {"name": name, "plan": "free"})
    request.koala.track("Signed Up", {"plan": "free"})
    return redirect(url_for("account"))


@app.get("/login")
def login_form() -> ResponseReturnValue:
    return render_template("login.html")


@app.post("/login")
def login() -> ResponseReturnValue:
    member = members.get(request.form["email"].strip().lower())
    if member is None or not check_password_hash(member.password_hash, request.form["password"]):
        return render_template("login.html", error="Wrong email or password."), 401
    session["email"] = member.email

    # This may be another browser than at sign-up: identify makes both one person.
    request.koala.identify(member.email, {"name": member.name})
    request.koala.track("Logged In", {"method": "password"})
    return redirect(url_for("account"))


@app.get("/account")
def account() -> ResponseReturnValue:
    if current_member() is None:
        return redirect(url_for("login_form"))
    return render_template("account.html")


@app.post("/upgrade")
def upgrade() -> ResponseReturnValue:
    member, plan = current_member(), request.form["plan"]
    if member is None:
        return redirect(url_for("login_form"))
    if plan not in PLANS:
        abort(400)
    before, member.plan = member.plan, plan

    request.koala.identify(member.email, {"plan": plan})
    request.koala.track("Changed Plan", {"from": before, "to": plan})
    return redirect(url_for("account"))


@app.post("/logout")
def logout() -> ResponseReturnValue:
    session.clear()

    request.koala.track("Logged Out")
    request.koala.reset()  # the next person on this browser is a new visitor
    return redirect(url_for("landing"))
