BEGIN TRANSACTION;
CREATE TABLE builds (
    id INTEGER PRIMARY KEY AUTOINCREMENT, builder TEXT NOT NULL, slave TEXT NOT NULL, reason TEXT NOT NULL,
    started REAL NOT NULL, ended REAL, elapsed REAL, result TEXT,
    why TEXT NOT NULL DEFAULT '', bytes INTEGER NOT NULL DEFAULT 0
);
INSERT INTO "builds" VALUES(1,'b','ex','schedule',1.0,2.0,1.0,'success','',0);
INSERT INTO "builds" VALUES(2,'b','ex','change 1 by ada',4.0,NULL,NULL,NULL,'',0);
CREATE TABLE changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, received REAL NOT NULL, who TEXT NOT NULL, files TEXT NOT NULL,
    comments TEXT NOT NULL, revision TEXT NOT NULL, branch TEXT NOT NULL, repository TEXT NOT NULL,
    project TEXT NOT NULL, category TEXT NOT NULL, revlink TEXT NOT NULL, codebase TEXT NOT NULL, made REAL,
    properties TEXT NOT NULL
);
INSERT INTO "changes" VALUES(1,3.0,'ada','["x.c"]','better','1f2e','feature-7','','p','','','',NULL,'{"k": "v"}');
CREATE TABLE logs (
    build INTEGER NOT NULL REFERENCES builds, step INTEGER NOT NULL, name TEXT NOT NULL, file TEXT NOT NULL,
    PRIMARY KEY (build, step, name)
);
INSERT INTO "logs" VALUES(1,1,'stdio','logs/1/1-stdio.log');
CREATE TABLE requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT, builder TEXT NOT NULL, reason TEXT NOT NULL,
    change INTEGER REFERENCES changes, created REAL NOT NULL, build INTEGER REFERENCES builds,
    tries INTEGER NOT NULL DEFAULT 0
);
INSERT INTO "requests" VALUES(1,'b','schedule',NULL,1.0,1,1);
INSERT INTO "requests" VALUES(2,'b','change 1 by ada',1,3.0,2,1);
INSERT INTO "requests" VALUES(3,'a','change 1 by ada',1,3.0,NULL,0);
INSERT INTO "requests" VALUES(4,'b','trigger',NULL,5.0,NULL,0);
CREATE TABLE schedules (builder TEXT PRIMARY KEY, last REAL NOT NULL);
INSERT INTO "schedules" VALUES('b',1.0);
CREATE TABLE steps (
    build INTEGER NOT NULL REFERENCES builds, number INTEGER NOT NULL, name TEXT NOT NULL, started REAL,
    elapsed REAL, result TEXT, rc INTEGER, why TEXT NOT NULL DEFAULT '', PRIMARY KEY (build, number)
);
INSERT INTO "steps" VALUES(1,1,'make',1.0,0.5,'success',0,'');
INSERT INTO "steps" VALUES(2,1,'make',4.0,NULL,NULL,NULL,'');
CREATE TABLE uploads (
    build INTEGER NOT NULL, step INTEGER NOT NULL, target BLOB NOT NULL, begun REAL NOT NULL, PRIMARY KEY (build, step)
);
CREATE INDEX requests_of_builder ON requests (builder, build);
CREATE INDEX requests_of_build ON requests (build);
CREATE INDEX requests_of_change ON requests (change);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('requests',4);
INSERT INTO "sqlite_sequence" VALUES('builds',2);
INSERT INTO "sqlite_sequence" VALUES('changes',1);
PRAGMA user_version = 2;
COMMIT;
