# Two images: `pipeline` (every process of ours) and `superset` (with its own dependencies, which cannot be shared).
# docker-compose.yml builds both.

FROM python:3.11.14-slim AS base
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --create-home --uid 10001 tollbook
WORKDIR /app

FROM base AS pipeline
COPY requirements.lock ./
RUN pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE tollbook.py ./
COPY schemas schemas
COPY producers producers
COPY stream_processors stream_processors
COPY notifiers notifiers
COPY local local
COPY clickhouse clickhouse
COPY superset superset
RUN pip install --no-deps --editable .
# A volume mounted there takes its owner from the image.
RUN install --directory --owner tollbook /var/lib/tollbook
USER tollbook

FROM base AS superset
COPY superset/requirements.lock ./
RUN pip install --require-hashes -r requirements.lock
# Not in /app/superset: a folder of that name on the import path would shadow the package.
COPY superset /srv/dashboards
ENV SUPERSET_CONFIG_PATH=/srv/dashboards/superset_config.py
USER tollbook
