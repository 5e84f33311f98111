-- A network of somebody's own; the ones that every engine has are on no record.
CREATE TABLE networks (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL,
    document   TEXT NOT NULL
) STRICT, WITHOUT ROWID;
