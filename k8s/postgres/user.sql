-- What a store's user may do in PostgreSQL: use a schema of the user's name, where its tables
-- are, and no other. The user has the name of its Dapr component, which replaces STORE.
-- Passwords are not here: k8s/postgres/postgres.yaml and k8s/postgres-users add them. Each
-- line is a statement, because PostgreSQL's single-user mode ends one there.
DO $do$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'STORE') THEN CREATE ROLE "STORE" LOGIN; END IF; END $do$;
-- An administrator who is no superuser may give a schema only to a role of which he is a member.
GRANT "STORE" TO CURRENT_USER;
CREATE SCHEMA IF NOT EXISTS "STORE" AUTHORIZATION "STORE";
