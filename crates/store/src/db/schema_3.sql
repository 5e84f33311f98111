-- What a registry serves: repositories, and in each the blobs, manifests and tags that can be read there.
-- `bytes` is what a repository's blobs and manifests come to; the triggers below keep it true.
CREATE TABLE repositories (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL,
    bytes      INTEGER NOT NULL DEFAULT 0
) STRICT;

-- `used_ms` is when somebody last pushed, mounted or asked for it: who did may be about to name it.
CREATE TABLE repository_blobs (
    repository INTEGER NOT NULL REFERENCES repositories ON DELETE CASCADE,
    digest     TEXT NOT NULL REFERENCES blobs ON DELETE CASCADE,
    size       INTEGER NOT NULL,
    used_ms    INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX repository_blobs_digest ON repository_blobs (digest);

-- What a referrers' list says of a manifest stands here, so that making one reads no document.
CREATE TABLE repository_manifests (
    repository    INTEGER NOT NULL REFERENCES repositories ON DELETE CASCADE,
    digest        TEXT NOT NULL REFERENCES blobs ON DELETE CASCADE,
    media_type    TEXT NOT NULL,
    artifact_type TEXT,
    subject       TEXT,
    annotations   TEXT NOT NULL,
    size          INTEGER NOT NULL,
    added_ms      INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX repository_manifests_digest ON repository_manifests (digest);
CREATE INDEX repository_manifests_subject ON repository_manifests (repository, subject, digest)
    WHERE subject IS NOT NULL;

CREATE TABLE repository_tags (
    repository INTEGER NOT NULL REFERENCES repositories ON DELETE CASCADE,
    name       TEXT NOT NULL,
    digest     TEXT NOT NULL,
    changed_ms INTEGER NOT NULL,
    checked_ms INTEGER NOT NULL,
    PRIMARY KEY (repository, name),
    FOREIGN KEY (repository, digest) REFERENCES repository_manifests ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX repository_tags_digest ON repository_tags (repository, digest);

CREATE TRIGGER repository_blob_comes AFTER INSERT ON repository_blobs BEGIN
    UPDATE repositories SET bytes = bytes + new.size WHERE id = new.repository;
END;
CREATE TRIGGER repository_blob_goes AFTER DELETE ON repository_blobs BEGIN
    UPDATE repositories SET bytes = bytes - old.size WHERE id = old.repository;
END;
CREATE TRIGGER repository_manifest_comes AFTER INSERT ON repository_manifests BEGIN
    UPDATE repositories SET bytes = bytes + new.size WHERE id = new.repository;
END;
CREATE TRIGGER repository_manifest_goes AFTER DELETE ON repository_manifests BEGIN
    UPDATE repositories SET bytes = bytes - old.size WHERE id = old.repository;
END;
