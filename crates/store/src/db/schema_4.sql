-- What builds remember: what a step came to, and the directories that steps find again. Both keep what they
-- name; `document` is whoever builds' own.
CREATE TABLE build_cache (
    key        TEXT PRIMARY KEY,
    kind       TEXT NOT NULL CHECK (kind IN ('step', 'mount')),
    about      TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    used_ms    INTEGER NOT NULL,
    uses       INTEGER NOT NULL,
    size       INTEGER NOT NULL,
    blob       TEXT,
    snapshot   TEXT,
    document   TEXT NOT NULL
) STRICT, WITHOUT ROWID;
