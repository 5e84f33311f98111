-- Times are milliseconds since 1970 (nanoseconds where the column says so).
-- The documents are JSON of whoever made them, with a version of their own: the store reads none.

-- A container is a name, what it was asked to be, and what it is. `journal` is the number of the last
-- record of its monitor that `state` knows of.
CREATE TABLE containers (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL,
    document   TEXT NOT NULL,
    state      TEXT NOT NULL,
    journal    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE volumes (
    name       TEXT PRIMARY KEY,
    created_ms INTEGER NOT NULL,
    document   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What happened, the last of it: the oldest make room. Numbers are never given twice.
CREATE TABLE events (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ns  INTEGER NOT NULL,
    document TEXT NOT NULL
) STRICT;
CREATE INDEX events_time ON events (time_ns);
