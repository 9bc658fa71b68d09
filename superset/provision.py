"""Brings Superset's metadata to what this folder says: schema, permissions, administrator, assets, roles.

    python superset/provision.py        (with Superset's own Python; settings: see superset_config.py)

TOLLBOOK_SUPERSET_ADMIN_PASSWORD is the password of the user `admin`. One process does it all, because importing
Superset takes longer than the work. It may be repeated at any time; with nothing changed it ends at once. Assets whose
uuid starts with OWN and that are no longer in `assets/` are removed; what people made in Superset is never touched.
"""

import hashlib
import importlib.metadata
import json
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

import yaml

Params = dict[str, Any]

HERE = Path(__file__).resolve().parent
ASSETS = HERE / "assets"
OWN = "7011b00c-"


def main() -> None:
    os.environ.setdefault("SUPERSET_CONFIG_PATH", str(HERE / "superset_config.py"))
    sys.path.append(str(HERE))
    home = Path(os.environ["SUPERSET_HOME"])
    mark, database = home / "provisioned", home / "superset.db"
    if database.exists() and mark.exists() and mark.read_text() == _fingerprint():
        print("Superset is as it should be: nothing to do.")
        return
    home.mkdir(parents=True, exist_ok=True)
    if database.exists() or "TOLLBOOK_SUPERSET_DATABASE_URI" in os.environ:
        _provision()
    else:
        _provision_new(database)
    if database.exists():  # metadata elsewhere may vanish without our knowing: no mark, look again next time
        mark.write_text(_fingerprint())
    print("Superset is provisioned.")


def _fingerprint() -> str:
    """Changes with anything that decides the result, the secrets included."""
    import superset_config

    files = [path for path in sorted(HERE.rglob("*")) if path.suffix in (".py", ".yaml")]
    secret = os.environ["TOLLBOOK_SUPERSET_ADMIN_PASSWORD"] + superset_config.SECRET_KEY
    parts = [importlib.metadata.version("apache-superset"), superset_config.ZONE, superset_config.CONSOLE, secret]
    return hashlib.sha256("\0".join(parts + [path.read_text() for path in files]).encode()).hexdigest()


def _provision_new(database: Path) -> None:
    """A new SQLite file is finished beside its place: SQLite cannot resume a migration that was interrupted.

    Until then nothing is lost with it, so it need not reach the disk at every step: that is most of the time.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    scratch = database.with_suffix(".new")
    scratch.unlink(missing_ok=True)
    os.environ["TOLLBOOK_SUPERSET_DATABASE_URI"] = f"sqlite:///{scratch}"
    event.listen(Engine, "connect", _in_memory_journal)
    _provision()
    with scratch.open("rb") as finished:
        os.fsync(finished.fileno())
    scratch.replace(database)


def _in_memory_journal(connection: object, _: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.executescript("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY;")


def _provision() -> None:
    from superset.app import create_app

    app = create_app()
    with app.app_context():
        from superset.extensions import db
        from superset.utils.core import override_user

        app.config["ALEMBIC_SKIP_LOG_CONFIG"] = True
        _make_tables()
        admin = _make_admin()
        with override_user(admin):
            _import_assets(app.config["ZONE"], app.config["CONSOLE"])
            _drop_leftovers()
        _make_roles(yaml.safe_load((HERE / "roles.yaml").read_text()))
        db.session.commit()


def _make_tables() -> None:
    import superset
    from flask_migrate import upgrade
    from superset import appbuilder, security_manager
    from superset.extensions import db

    upgrade(directory=str(Path(superset.__file__).parent / "migrations"))
    appbuilder.add_permissions(update_perms=True)
    security_manager.sync_role_definitions()
    db.session.commit()


def _make_admin() -> Any:
    from superset import security_manager

    password = os.environ["TOLLBOOK_SUPERSET_ADMIN_PASSWORD"]
    admin = security_manager.find_user("admin")
    if admin is None:
        role = security_manager.find_role("Admin")
        security_manager.add_user("admin", "Ledger", "Admin", "admin@localhost.invalid", role, password=password)
    else:
        security_manager.reset_password(admin.id, password)
    return security_manager.find_user("admin")


def _import_assets(zone: str, console: str) -> None:
    from superset.commands.importers.v1.assets import ImportAssetsCommand

    paths = sorted(ASSETS.rglob("*.yaml"))
    ImportAssetsCommand({path.relative_to(ASSETS).as_posix(): rendered(path, zone, console) for path in paths}).run()


def rendered(path: Path, zone: str, console: str) -> str:
    """The text of an asset as Superset imports it: the calendar's zone and the console's address put in, a chart
    with its query.
    """
    text = path.read_text().replace("{zone}", zone).replace("{console}", console)
    if path.parent.name != "charts":
        return text
    chart = yaml.safe_load(text)
    chart["params"]["viz_type"] = chart["viz_type"]
    chart["query_context"] = json.dumps(query_context(chart["params"]))
    return str(yaml.safe_dump(chart, sort_keys=False))


def query_context(params: Params) -> Params:
    """The query behind a chart, for those who ask over REST; the browser makes the same one from `params`."""
    raw = params.get("query_mode") == "raw"
    first = params.get("timeseries_limit_metric")
    orders = [json.loads(each) for each in params.get("order_by_cols", [])]
    axis = [params["x_axis"]] if "x_axis" in params else []
    query = {
        "columns": params["all_columns"] if raw else axis + params.get("groupby", []),
        "metrics": None if raw else params.get("metrics") or [params["metric"]],
        "filters": [
            {"col": each["subject"], "op": each["operator"], "val": each["comparator"]}
            for each in params["adhoc_filters"]
        ],
        "orderby": orders or ([[first, False]] if first else []),
        "row_limit": params.get("row_limit", 10_000),
    }
    return {
        "datasource": {"id": 0, "type": "table"},  # the importer puts in the dataset's id
        "queries": [query],
        "result_format": "json",
        "result_type": "full",
    }


def _drop_leftovers() -> None:
    from superset.connectors.sqla.models import SqlaTable
    from superset.extensions import db
    from superset.models.dashboard import Dashboard
    from superset.models.slice import Slice

    declared = {yaml.safe_load(path.read_text()).get("uuid") for path in ASSETS.rglob("*.yaml")}
    for model in (Dashboard, Slice, SqlaTable):
        for asset in db.session.query(model):
            if str(asset.uuid).startswith(OWN) and str(asset.uuid) not in declared:
                db.session.delete(asset)
    db.session.flush()


def _make_roles(declared: Params) -> None:
    from superset import security_manager
    from superset.connectors.sqla.models import SqlaTable
    from superset.extensions import db

    datasets = [each for each in db.session.query(SqlaTable) if str(each.uuid).startswith(OWN)]
    viewer = declared["viewer"]
    grants = [(name, view) for view, names in viewer["permissions"].items() for name in names]
    grants += [("datasource_access", dataset.perm) for dataset in datasets]
    role = security_manager.add_role(viewer["name"])
    role.permissions = [security_manager.add_permission_view_menu(*grant) for grant in grants]
    seeing = [security_manager.add_role(name) for name in declared["see_all"]]
    for each in declared["departments"]:
        department = security_manager.add_role(each["role"])
        clause = f"organization = {_text(each['organization'])} AND department = {_text(each['department'])}"
        _rule(each["role"], "Regular", [department], datasets, clause)
        seeing.append(department)
    _rule("nothing without a role that says whose", "Base", seeing, datasets, "1 = 0")


def _rule(name: str, kind: str, roles: list[Any], datasets: list[Any], clause: str) -> None:
    """Base: holds for everybody but `roles`; Regular: for `roles`, where several rules of one group widen."""
    from superset.connectors.sqla.models import RowLevelSecurityFilter
    from superset.extensions import db

    rule = db.session.query(RowLevelSecurityFilter).filter_by(name=name).one_or_none()
    rule = rule or RowLevelSecurityFilter(name=name)
    rule.filter_type, rule.roles, rule.tables, rule.clause = kind, roles, datasets, clause
    rule.group_key = "department" if kind == "Regular" else ""
    db.session.add(rule)


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


if __name__ == "__main__":
    main()
