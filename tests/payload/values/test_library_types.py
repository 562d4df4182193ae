"""Values of libraries: what an app gives to `track()` is converted without being used."""

from __future__ import annotations

import io
import sqlite3
from email.message import Message
from typing import Any, NamedTuple

import flask
import flask_login
import pydantic
import pydantic.v1
import pytest
import sqlalchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from starlette.datastructures import URL
from werkzeug.datastructures import FileStorage, Headers
from werkzeug.local import LocalProxy

from koala_middleware import KoalaClient
from koala_middleware.flask import Koala
from koala_middleware.payload.scrub.scrubber import scrub
from koala_middleware.payload.values.cleaner import MASK, plain
from koala_middleware.payload.values.snapshot import snapshot


def made_as(name: str, text: str = "", **attributes: Any) -> Any:
    """An instance of a class with this module and name, as a library that is not installed has it."""
    module, _, qualname = name.rpartition(".")
    members = {
        "__module__": module,
        "__str__": lambda _: text,
        "__iter__": lambda _: iter(text),
        **attributes,
    }
    return type(qualname, (), members)()


class Base(DeclarativeBase):
    pass


class Visitor(Base):
    __tablename__ = "visitor"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


def test_an_upload_is_not_read() -> None:
    client = KoalaClient(public_api_key="pk_test", delivery="off")
    app = flask.Flask(__name__)
    Koala(app, client=client)

    @app.post("/upload")
    def upload() -> str:
        file = flask.request.files["f"]
        flask.request.koala.track("Uploaded", {"file": file})  # type: ignore[attr-defined]
        return str(len(file.read()))

    response = app.test_client().post("/upload", data={"f": (io.BytesIO(b"a line\n" * 20), "lines.txt")})
    assert response.text == "140"


def test_a_query_is_not_run() -> None:
    engine = sqlalchemy.create_engine("sqlite://")
    Base.metadata.create_all(engine)
    statements: list[str] = []
    sqlalchemy.event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    with Session(engine) as session:
        session.add(Visitor(name="Ada"))
        kept = snapshot({"query": session.query(Visitor), "statement": sqlalchemy.select(Visitor)})
        assert plain(kept) == {"query": "Query", "statement": "Select"}
        assert session.new  # not flushed
    assert statements == []
    engine.dispose()


@pytest.mark.parametrize("kind", [FileStorage, flask.Response])
def test_what_only_iterates_is_its_types_name(kind: type[Any]) -> None:
    assert plain(kind()) == kind.__name__


class Model(pydantic.v1.BaseModel):
    a: int = 1
    secret: str = pydantic.v1.Field("x", exclude=True)


class Site(pydantic.BaseModel):
    home: pydantic.HttpUrl
    database: pydantic.PostgresDsn


class Login(NamedTuple):
    user: str
    password: str


def test_models_of_pydantic_v1_are_their_fields_without_the_excluded() -> None:
    assert plain(Model(secret="x")) == {"a": 1}


def test_urls_of_libraries_are_their_text_and_their_passwords_are_masked() -> None:
    site = Site(home="https://example.com/", database="postgres://ada:hunter2@db/app")  # type: ignore[arg-type]
    urls = [site.home, site.database, URL("https://ada:hunter2@example.com/")]
    assert scrub(urls) == [
        "https://example.com/",
        f"postgres://{MASK}@db/app",
        f"https://{MASK}@example.com/",
    ]
    assert plain(sqlalchemy.make_url("postgresql://ada:hunter2@db/app")) == "postgresql://ada:***@db/app"


@pytest.mark.parametrize(
    "name",
    [
        *("flask_babel.speaklater.LazyString", "babel.support.LazyProxy", "yarl.URL", "ulid.ULID"),
        *("bson.objectid.ObjectId", "pydantic_core._pydantic_core.Url", "pandas._libs.tslibs.period.Period"),
    ],
)
def test_known_types_are_their_text(name: str) -> None:
    assert plain({"value": made_as(name, "Price")}) == {"value": "Price"}


def test_an_unknown_type_is_its_name_whatever_its_text() -> None:
    assert plain(made_as("shop.models.Price", "4 EUR")) == "Price"


@pytest.mark.parametrize("module", ["pandas", "pandas.core.frame"])
def test_a_small_data_frame_is_its_rows_and_a_large_one_its_name(module: str) -> None:
    rows = [{"plan": "pro", "password": "hunter2"}]
    small = made_as(f"{module}.DataFrame", size=2, to_dict=lambda _self, _orient: rows)
    assert scrub(small) == [{"plan": "pro", "password": MASK}]
    assert plain(made_as(f"{module}.DataFrame", size=10**7)) == "DataFrame"


def test_an_sqlmodel_that_is_expired_is_its_primary_key() -> None:
    """Its fields would cost a query."""
    state = type("InstanceState", (), {"key": (object, (7,), None)})()
    expired = made_as("sqlmodel.main.SQLModel", model_dump=lambda _self, **_: {})
    expired._sa_instance_state = state
    assert plain(expired) == 7
    state.key = None
    assert plain(expired) == "SQLModel"
    assert plain(made_as("sqlmodel.main.SQLModel", model_dump=lambda _self, **_: {"id": 7})) == {"id": 7}


def test_rows_of_a_database_are_mappings_so_that_columns_are_judged() -> None:
    with sqlite3.connect(":memory:") as database:
        database.row_factory = sqlite3.Row
        row = database.execute("select 1 as id, 'hunter2' as password").fetchone()
        assert scrub(row) == {"id": 1, "password": MASK}
    database.close()
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection:
        found = connection.execute(sqlalchemy.text("select 1 as id, 'hunter2' as password")).first()
        assert scrub(found) == {"id": 1, "password": MASK}
    engine.dispose()


def test_a_named_tuple_is_judged_by_its_fields() -> None:
    assert scrub(Login("ada", "hunter2")) == {"user": "ada", "password": MASK}


def test_headers_are_a_mapping_with_all_values_of_a_name() -> None:
    message = Message()
    for headers in (Headers(), message):
        for name, value in (("Via", "a"), ("Via", "b"), ("Via", "c"), ("X-Api-Key", "k3y")):
            headers.add_header(name, value)
        assert scrub(headers) == {"Via": ["a", "b", "c"], "X-Api-Key": MASK}


def test_flasks_proxies_are_what_they_stand_for() -> None:
    app = flask.Flask(__name__)
    app.secret_key = "x"
    with app.test_request_context():
        flask.session["cart"] = [1]
        assert plain({"session": flask.session, "request": flask.request}) == {
            "session": {"cart": [1]},
            "request": "Request",
        }
    assert plain(flask.session) == "LocalProxy"


def test_a_proxy_that_would_run_the_apps_code_is_its_types_name() -> None:
    def connect() -> object:
        raise AssertionError("a connection was opened")

    assert plain(LocalProxy(connect)) == "LocalProxy"


def test_current_user_is_the_user_that_was_loaded_already() -> None:
    app = flask.Flask(__name__)
    app.secret_key = "x"
    manager = flask_login.LoginManager(app)
    loaded: list[str] = []

    @manager.user_loader  # type: ignore[untyped-decorator]  # flask_login brings no types
    def load(user_id: str) -> None:
        loaded.append(user_id)

    with app.test_request_context():
        flask.session["_user_id"] = "7"
        assert plain(flask_login.current_user) == "LocalProxy"
        assert loaded == []
        flask.g._login_user = Login("ada", "x")
        assert plain(flask_login.current_user) == {"user": "ada", "password": "x"}
