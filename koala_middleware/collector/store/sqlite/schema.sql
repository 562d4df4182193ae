-- The collector's tables. Times are milliseconds since 1970, UTC; message_id has 16 bytes.
-- No column says whose an entry is: that is read from the ownerships (see identity.py), so nothing is rewritten when a
-- visitor turns out to be somebody. trait, member and *_seen are summaries of entries.

CREATE TABLE project (
    project_no INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE
);

CREATE TABLE profile (
    profile_no INTEGER PRIMARY KEY,
    project_no INTEGER NOT NULL,
    profile_id TEXT NOT NULL,
    UNIQUE (project_no, profile_id)
);

CREATE TABLE person (
    person_no INTEGER PRIMARY KEY,
    project_no INTEGER NOT NULL,
    email TEXT NOT NULL,
    first_seen INTEGER,
    last_seen INTEGER,
    UNIQUE (project_no, email)
);
CREATE INDEX person_seen ON person (last_seen);

CREATE TABLE account (
    account_no INTEGER PRIMARY KEY,
    project_no INTEGER NOT NULL,
    handle TEXT NOT NULL,  -- the domain, or where there is none the account_id
    UNIQUE (project_no, handle)
);

CREATE TABLE label (
    label_no INTEGER PRIMARY KEY,
    project_no INTEGER NOT NULL,
    kind TEXT NOT NULL,  -- identify, track, page
    name TEXT NOT NULL,  -- an event's name; empty for the other kinds
    UNIQUE (project_no, kind, name)
);

CREATE TABLE entry (
    entry_no INTEGER PRIMARY KEY,  -- the order of arrival
    project_no INTEGER NOT NULL,
    label_no INTEGER NOT NULL,
    profile_no INTEGER,
    person_no INTEGER,  -- the person that the entry's own request named
    account_no INTEGER,
    sent_at INTEGER NOT NULL,
    message_id BLOB NOT NULL,
    received_at INTEGER NOT NULL,
    request_no INTEGER NOT NULL,
    identifies INTEGER NOT NULL,  -- 1 for an identify, 2 for a snapshot of traits (see statements.py), else 0
    body TEXT NOT NULL
);
CREATE UNIQUE INDEX entry_message ON entry (message_id, project_no);
CREATE INDEX entry_label ON entry (label_no);
CREATE INDEX entry_profile ON entry (profile_no, sent_at, message_id) WHERE profile_no IS NOT NULL;
CREATE INDEX entry_naming ON entry (profile_no, sent_at, message_id, person_no)
    WHERE profile_no IS NOT NULL AND person_no IS NOT NULL;
CREATE INDEX entry_identify ON entry (profile_no, sent_at, message_id)
    WHERE profile_no IS NOT NULL AND identifies > 0;
CREATE INDEX entry_person ON entry (person_no, sent_at, message_id)
    WHERE profile_no IS NULL AND person_no IS NOT NULL;
CREATE INDEX entry_account ON entry (account_no, sent_at, message_id) WHERE account_no IS NOT NULL;

CREATE TABLE turn (
    profile_no INTEGER NOT NULL,
    sent_at INTEGER NOT NULL,
    message_id BLOB NOT NULL,
    person_no INTEGER NOT NULL,
    PRIMARY KEY (profile_no, sent_at, message_id)
) WITHOUT ROWID;
CREATE INDEX turn_person ON turn (person_no);

CREATE TABLE trait (
    person_no INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,  -- JSON
    sent_at INTEGER NOT NULL,
    message_id BLOB NOT NULL,
    PRIMARY KEY (person_no, name)
) WITHOUT ROWID;

CREATE TABLE account_trait (
    account_no INTEGER NOT NULL,
    group_id TEXT NOT NULL,  -- empty: the account as a whole
    name TEXT NOT NULL,
    value TEXT NOT NULL,  -- JSON
    sent_at INTEGER NOT NULL,
    message_id BLOB NOT NULL,
    PRIMARY KEY (account_no, group_id, name)
) WITHOUT ROWID;

CREATE TABLE member (
    account_no INTEGER NOT NULL,
    person_no INTEGER NOT NULL,
    group_id TEXT NOT NULL,
    PRIMARY KEY (account_no, person_no, group_id)
) WITHOUT ROWID;
CREATE INDEX member_person ON member (person_no);

CREATE TABLE hourly (
    label_no INTEGER NOT NULL,
    hour INTEGER NOT NULL,  -- hours since 1970
    entries INTEGER NOT NULL,
    PRIMARY KEY (label_no, hour)
) WITHOUT ROWID;

-- The last requests as they arrived, in two rings of fixed length (slot): good requests do not displace refused ones.
CREATE TABLE request (
    slot INTEGER PRIMARY KEY,
    request_no INTEGER NOT NULL,
    key TEXT NOT NULL,
    path TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    status INTEGER NOT NULL,
    outcome TEXT NOT NULL,  -- taken, refused, ignored
    notes TEXT NOT NULL,  -- what was wrong or odd, one per line
    user_agent TEXT NOT NULL,
    size INTEGER NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX request_number ON request (request_no);

CREATE TABLE minutely (
    minute INTEGER NOT NULL,  -- minutes since 1970
    outcome TEXT NOT NULL,
    requests INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    PRIMARY KEY (minute, outcome)
) WITHOUT ROWID;

CREATE TABLE login (
    name TEXT PRIMARY KEY,
    password_hash TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE deletion (
    deletion_id TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL,
    document TEXT NOT NULL  -- the receipt, as the API answers it
) WITHOUT ROWID;

-- secret: signs login cookies. "last entry" and so on: the highest number given when something was last deleted, since
-- no number is given twice.
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
