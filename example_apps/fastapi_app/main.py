"""Gumleaf on FastAPI: a small site that records what its visitors do.

`make demo` runs it beside the other sites; `uvicorn --app-dir example_apps/fastapi_app main:app` runs it alone.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from fastapi import FastAPI, Form
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from werkzeug.security import check_password_hash, generate_password_hash

from koala_middleware.asgi import KoalaMiddleware
from koala_middleware.fastapi import KoalaRequest
from koala_middleware.snippet import snippet

HERE = Path(__file__).parent
PLANS = {"free": "Free", "pro": "Pro", "team": "Team"}
PUBLIC_API_KEY = os.environ.get("KOALA_PUBLIC_API_KEY", "pk_demo")
ENDPOINT = os.environ.get("KOALA_ENDPOINT", "http://localhost:8600")

app = FastAPI(title="Gumleaf", default_response_class=HTMLResponse)
app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
app.add_middleware(
    SessionMiddleware,
    secret_key=os.environ.get("SECRET_KEY", "only for the demo"),
    session_cookie="gumleaf_fastapi",  # browsers share cookies between the ports of 127.0.0.1
)

app.add_middleware(  # added last, so it is outermost and sees the final response
    KoalaMiddleware,
    public_api_key=PUBLIC_API_KEY,
    endpoint=ENDPOINT,
    exclude_paths=["/static/*"],  # a style sheet is not a visit
)


@dataclass
class Member:
    email: str
    name: str
    password_hash: str
    plan: str = "free"


members: dict[str, Member] = {}  # by email; a real site has a database


def current_member(request: Request) -> Member | None:
    return members.get(request.session.get("email", ""))


def member_for_templates(request: Request) -> dict[str, object]:
    return {"member": current_member(request), "plans": PLANS}


templates = Jinja2Templates(HERE / "templates", context_processors=[member_for_templates])
# Optional: the browser script records page views. It shares the visitor's cookie with the handlers below.
templates.env.globals["koala_script"] = snippet(PUBLIC_API_KEY, ENDPOINT)


def page(request: Request, name: str, error: str = "", status_code: int = 200) -> Response:
    return templates.TemplateResponse(request, name, {"error": error}, status_code)


def see_other(request: Request, name: str) -> Response:
    return RedirectResponse(request.url_for(name), status_code=303)  # 303: the browser continues with GET


# Handlers are plain functions: FastAPI runs them in threads, so hashing a password blocks nobody else.
@app.get("/")
def landing(request: KoalaRequest) -> Response:
    return page(request, "landing.html")


@app.get("/pricing")
def pricing(request: KoalaRequest) -> Response:
    request.koala.track("Viewed Pricing")
    return page(request, "pricing.html")


@app.get("/signup")
def signup_form(request: KoalaRequest) -> Response:
    return page(request, "signup.html")


@app.post("/signup")
def signup(
    request: KoalaRequest,
    name: Annotated[str, Form()],
    email: Annotated[str, Form()],
    password: Annotated[str, Form()],
) -> Response:
    email, name = email.strip().lower(), name.strip()
    if email in members:
        return page(request, "signup.html", "This email already has an account. Log in instead.", 409)
    members[email] = Member(email, name, generate_password_hash(password))
    request.session["email"] = email

    # From now on, everything that this browser did and does belongs to this person.
    request.koala.identify(email, {"name": name, "plan": "free"})
    request.koala.track("Signed Up", {"plan": "free"})
    return see_other(request, "account")


@app.get("/login")
def login_form(request: KoalaRequest) -> Response:
    return page(request, "login.html")


@app.post("/login")
def login(request: KoalaRequest, email: Annotated[str, Form()], password: Annotated[str, Form()]) -> Response:
    member = members.get(email.strip().lower())
    if member is None or not check_password_hash(member.password_hash, password):
        return page(request, "login.html", "Wrong email or password.", 401)
    request.session["email"] = member.email

    # This may be another browser than at sign-up: identify makes both one person.
    request.koala.identify(member.email, {"name": member.name})
    request.koala.track("Logged In", {"method": "password"})
    return see_other(request, "account")


@app.get("/account")
def account(request: KoalaRequest) -> Response:
    if current_member(request) is None:
        return see_other(request, "login_form")
    return page(request, "account.html")


@app.post("/upgrade")
def upgrade(request: KoalaRequest, plan: Annotated[Literal["free", "pro", "team"], Form()]) -> Response:
    member = current_member(request)
    if member is None:
        return see_other(request, "login_form")
    before, member.plan = member.plan, plan

    request.koala.identify(member.email, {"plan": plan})
    request.koala.track("Changed Plan", {"from": before, "to": plan})
    return see_other(request, "account")


@app.post("/logout")
def logout(request: KoalaRequest) -> Response:
    request.session.clear()

    request.koala.track("Logged Out")
    request.koala.reset()  # the next person on this browser is a new visitor
    return see_other(request, "landing")
