-- People who ask ClickHouse itself see their own department's rows only. Run it once on a server, as `default`:
--     docker compose exec -T clickhouse clickhouse-client --multiquery < clickhouse/access/departments.sql
-- then make an account for a department, named ORGANIZATION/DEPARTMENT as its events are:
--     CREATE USER `acme/engineering` IDENTIFIED BY '...' DEFAULT ROLE department_reader
-- The owner and the reader of dashboards see all: there Superset's row-level security decides (superset/roles.yaml).

CREATE ROLE IF NOT EXISTS department_reader SETTINGS PROFILE 'reader';

GRANT SELECT ON tollbook.usage TO department_reader;
GRANT SELECT ON tollbook.usage_hourly TO department_reader;
GRANT SELECT ON tollbook.usage_daily TO department_reader;

CREATE ROW POLICY OR REPLACE all_rows ON tollbook.usage, tollbook.usage_hourly, tollbook.usage_daily
    USING 1 TO tollbook, tollbook_reader;

CREATE ROW POLICY OR REPLACE own_department ON tollbook.usage, tollbook.usage_hourly, tollbook.usage_daily
    USING concat(organization, '/', department) = currentUser() TO ALL EXCEPT tollbook, tollbook_reader;
