-- Where a blob can be had again is known for longer than the blob is here.
CREATE TABLE sources_7 (
    digest     TEXT NOT NULL,
    repository TEXT NOT NULL,
    PRIMARY KEY (digest, repository)
) STRICT, WITHOUT ROWID;
INSERT INTO sources_7 SELECT digest, repository FROM sources;
DROP TABLE sources;
ALTER TABLE sources_7 RENAME TO sources;
