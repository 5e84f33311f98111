-- What a container was asked to be is large and hardly ever changes; what it is changes all the time.
CREATE TABLE container_documents (
    id       TEXT PRIMARY KEY REFERENCES containers ON DELETE CASCADE,
    document TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO container_documents SELECT id, document FROM containers;
ALTER TABLE containers DROP COLUMN document;

-- Whoever asks for events by their time reads them all: they are few, and each was dearer to write.
DROP INDEX events_time;
