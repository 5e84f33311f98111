-- Times are milliseconds since 1970, digests `algorithm:hex`, as people read them.

-- A blob is recorded once its file is whole and on disk.
CREATE TABLE blobs (
    digest     TEXT PRIMARY KEY,
    size       INTEGER NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Repositories that have served a blob, and so can again.
CREATE TABLE sources (
    digest     TEXT NOT NULL REFERENCES blobs ON DELETE CASCADE,
    repository TEXT NOT NULL,
    PRIMARY KEY (digest, repository)
) STRICT, WITHOUT ROWID;

-- Blobs that were read as index, manifest or configuration, and what they point to.
-- What they point to need not be there: an index names platforms that nobody asked for.
CREATE TABLE documents (
    digest TEXT PRIMARY KEY REFERENCES blobs ON DELETE CASCADE,
    kind   TEXT NOT NULL CHECK (kind IN ('index', 'manifest', 'config'))
) STRICT, WITHOUT ROWID;
CREATE TABLE links (
    parent   TEXT NOT NULL REFERENCES documents ON DELETE CASCADE,
    position INTEGER NOT NULL,
    child    TEXT NOT NULL,
    PRIMARY KEY (parent, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX links_child ON links (child);

-- The snapshots that a configuration's layers unpack to, lowest first.
CREATE TABLE chains (
    config   TEXT NOT NULL REFERENCES documents ON DELETE CASCADE,
    position INTEGER NOT NULL,
    name     TEXT NOT NULL,
    PRIMARY KEY (config, position)
) STRICT, WITHOUT ROWID;

-- An image is a name and what it points to. An image without a name has its digest for one.
CREATE TABLE images (
    name       TEXT PRIMARY KEY,
    target     TEXT NOT NULL,
    descriptor TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX images_target ON images (target);

-- Numbers are never given twice: a directory that still waits for its removal belongs to nobody.
-- An active one that was made under a lease ends with it; others end when they are removed.
CREATE TABLE snapshots (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    driver     TEXT NOT NULL,
    key        TEXT,
    name       TEXT,
    parent     INTEGER REFERENCES snapshots,
    size       INTEGER NOT NULL,
    inodes     INTEGER NOT NULL,
    labels     TEXT NOT NULL,
    leased     INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    CHECK ((key IS NULL) <> (name IS NULL)),
    UNIQUE (driver, key),
    UNIQUE (driver, name)
) STRICT;
CREATE INDEX snapshots_parent ON snapshots (parent);

-- A lease keeps what is on its way to being named.
CREATE TABLE leases (
    id         TEXT PRIMARY KEY,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE lease_blobs (
    lease  TEXT NOT NULL REFERENCES leases ON DELETE CASCADE,
    digest TEXT NOT NULL,
    PRIMARY KEY (lease, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE lease_snapshots (
    lease    TEXT NOT NULL REFERENCES leases ON DELETE CASCADE,
    snapshot INTEGER NOT NULL REFERENCES snapshots ON DELETE CASCADE,
    PRIMARY KEY (lease, snapshot)
) STRICT, WITHOUT ROWID;
CREATE INDEX lease_snapshots_snapshot ON lease_snapshots (snapshot);
