"""The first tables. SQLite's schema.sql explains them; here is what differs, and why.

- `entry` is partitioned by the time of arrival (see partitions.py), so that old partitions can be dropped.
- A unique index cannot span partitions, so `message` ensures that an entry is stored once.
- `hourly` and `minutely` have a row for each of several writers (`writer`), which would otherwise wait for one
  another's commits. Readers add them up.
- `hourly` also has the day on which the entries arrived, so that it shrinks with them without counting them again.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE koala.project (
    project_no BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key TEXT COLLATE "C" NOT NULL UNIQUE
);
CREATE TABLE koala.profile (
    profile_no BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_no BIGINT NOT NULL,
    profile_id TEXT COLLATE "C" NOT NULL,
    UNIQUE (profile_id, project_no)
);
CREATE TABLE koala.person (
    person_no BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_no BIGINT NOT NULL,
    email TEXT COLLATE "C" NOT NULL,
    first_seen BIGINT,
    last_seen BIGINT,
    UNIQUE (email, project_no)
);
CREATE INDEX person_seen ON koala.person (last_seen DESC NULLS LAST, person_no DESC);
CREATE TABLE koala.account (
    account_no BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_no BIGINT NOT NULL,
    handle TEXT COLLATE "C" NOT NULL,
    UNIQUE (handle, project_no)
);
CREATE TABLE koala.label (
    label_no BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_no BIGINT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    UNIQUE (project_no, kind, name)
);

CREATE TABLE koala.message (
    project_no BIGINT NOT NULL,
    message_id BYTEA NOT NULL,
    entry_no BIGINT NOT NULL,
    PRIMARY KEY (message_id, project_no)
);

CREATE TABLE koala.entry (
    entry_no BIGINT NOT NULL,
    project_no BIGINT NOT NULL,
    label_no BIGINT NOT NULL,
    profile_no BIGINT,
    person_no BIGINT,
    account_no BIGINT,
    sent_at BIGINT NOT NULL,
    message_id BYTEA NOT NULL,
    received_at BIGINT NOT NULL,
    request_no BIGINT NOT NULL,
    identifies SMALLINT NOT NULL,
    body TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (entry_no, received_at)
) PARTITION BY RANGE (received_at);
CREATE INDEX entry_label ON koala.entry (label_no, entry_no);
CREATE INDEX entry_profile ON koala.entry (profile_no, sent_at, message_id) WHERE profile_no IS NOT NULL;
CREATE INDEX entry_naming ON koala.entry (profile_no, sent_at, message_id)
    WHERE profile_no IS NOT NULL AND person_no IS NOT NULL;
CREATE INDEX entry_identify ON koala.entry (profile_no, sent_at, message_id)
    WHERE profile_no IS NOT NULL AND identifies = 1;
CREATE INDEX entry_person ON koala.entry (person_no, sent_at, message_id)
    WHERE profile_no IS NULL AND person_no IS NOT NULL;
CREATE INDEX entry_account ON koala.entry (account_no, sent_at, message_id) WHERE account_no IS NOT NULL;

CREATE TABLE koala.turn (
    profile_no BIGINT NOT NULL,
    sent_at BIGINT NOT NULL,
    message_id BYTEA NOT NULL,
    person_no BIGINT NOT NULL,
    PRIMARY KEY (profile_no, sent_at, message_id)
);
CREATE INDEX turn_person ON koala.turn (person_no);
CREATE TABLE koala.trait (
    person_no BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    sent_at BIGINT NOT NULL,
    message_id BYTEA NOT NULL,
    PRIMARY KEY (person_no, name)
);
CREATE TABLE koala.account_trait (
    account_no BIGINT NOT NULL,
    group_id TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    sent_at BIGINT NOT NULL,
    message_id BYTEA NOT NULL,
    PRIMARY KEY (account_no, group_id, name)
);
CREATE TABLE koala.member (
    account_no BIGINT NOT NULL,
    person_no BIGINT NOT NULL,
    group_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (account_no, person_no, group_id)
);
CREATE INDEX member_person ON koala.member (person_no);

CREATE TABLE koala.hourly (
    label_no BIGINT NOT NULL,
    hour INTEGER NOT NULL,
    day INTEGER NOT NULL,
    writer SMALLINT NOT NULL,
    entries INTEGER NOT NULL,
    PRIMARY KEY (label_no, hour, day, writer)
);
CREATE TABLE koala.minutely (
    minute INTEGER NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    writer SMALLINT NOT NULL,
    requests INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    PRIMARY KEY (minute, outcome, writer)
);
CREATE SEQUENCE koala.request_number;
CREATE TABLE koala.request (
    request_no BIGINT PRIMARY KEY,
    key TEXT NOT NULL,
    path TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    status INTEGER NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    notes TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    size INTEGER NOT NULL,
    body TEXT NOT NULL
);
ALTER TABLE koala.request ALTER body SET STORAGE EXTERNAL;  -- gone too soon to be worth compressing
CREATE INDEX request_outcome ON koala.request (outcome, request_no);

CREATE TABLE koala.login (name TEXT COLLATE "C" PRIMARY KEY, password_hash TEXT NOT NULL);
CREATE TABLE koala.deletion (
    deletion_id TEXT COLLATE "C" PRIMARY KEY,
    created_at BIGINT NOT NULL,
    document TEXT NOT NULL
);
CREATE TABLE koala.meta (name TEXT COLLATE "C" PRIMARY KEY, value TEXT NOT NULL);
"""

# A reader that continues after entry number N must not miss an entry with a smaller number that is committed later. So
# a transaction that takes numbers first announces, with a lock that it holds until its end, that none of its own is
# below the next one; and readers read only up to the lowest number announced. (27503 is "ko" in ASCII, since other
# applications have advisory locks, too.)
NUMBERS = """
CREATE SEQUENCE koala.entry_number;
CREATE FUNCTION koala.entry_numbers(how_many BIGINT) RETURNS SETOF BIGINT LANGUAGE plpgsql AS $$
DECLARE
    lowest BIGINT;
BEGIN
    SELECT last_value + is_called::INTEGER INTO lowest FROM koala.entry_number;
    PERFORM pg_advisory_xact_lock_shared((27503::BIGINT << 48) | lowest);
    RETURN QUERY SELECT nextval('koala.entry_number') FROM generate_series(1, how_many);
END $$;
CREATE FUNCTION koala.settled() RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
    newest BIGINT;  -- read before the locks: numbers taken later are larger
    lowest BIGINT;
BEGIN
    SELECT last_value - 1 + is_called::INTEGER INTO newest FROM koala.entry_number;
    SELECT min(((classid::BIGINT & 65535) << 32) | objid::BIGINT) INTO lowest FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1 AND classid::BIGINT >> 16 = 27503
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
    RETURN least(newest, lowest - 1);
END $$;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES)
    op.get_bind().exec_driver_sql(NUMBERS)
