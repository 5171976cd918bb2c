# An image with aiotask and its dependencies only. Use it as a base image, or mount your code at /app:
#
#   docker build -t aiotask .
#   docker run --rm -e AIOTASK_URL=redis://host:6379/0 -e AIOTASK_SECRET=... -v "$PWD:/app:ro" aiotask worker shop.tasks
#
# Every flag has an environment variable: with AIOTASK_APP=shop.tasks the default command needs no arguments.

ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
WORKDIR /src
COPY . .
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && python -m venv /opt/aiotask \
    && wheel=$(ls /wheels/aiotask-*.whl) \
    && /opt/aiotask/bin/python -m pip install --no-cache-dir "${wheel}[json]"

FROM python:${PYTHON}-slim
COPY --from=build /opt/aiotask /opt/aiotask
RUN useradd --create-home --uid 10001 aiotask
# The embedded server is off: without AIOTASK_URL the worker refuses to start, and the error says so. If AIOTASK_HEALTH_PORT
# is set, the port accepts probes from outside the container.
ENV PATH=/opt/aiotask/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    AIOTASK_EMBEDDED=0 \
    AIOTASK_HEALTH_HOST=0.0.0.0
WORKDIR /app
USER aiotask
# The supervisor is PID 1: it reaps orphaned processes, and drains on TERM.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=10s --retries=3 CMD ["aiotask", "doctor", "--ready"]
ENTRYPOINT ["aiotask"]
CMD ["worker"]
