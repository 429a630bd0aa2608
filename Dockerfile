# crystalgraph with relaxation on CPUs:
#   docker build -t crystalgraph --build-arg PIP_EXTRA_INDEX_URL=INDEX .
#   docker run --rm -v "$PWD/runs:/home/scientist/runs" crystalgraph cg-generate -n 20
#
# INDEX is PyTorch's own index of CPU builds, which its installation page names; without it torch comes with CUDA,
# which runs as well and takes gigabytes more.
FROM python:3.11-slim

WORKDIR /src
COPY setup.cfg pyproject.toml constraints.txt LICENSE README.md ./
COPY crystalgraph crystalgraph
COPY datasets datasets
ARG PIP_EXTRA_INDEX_URL=""
RUN pip install --no-cache-dir --constraint constraints.txt ".[relax]" \
    && rm -rf /src \
    && useradd --create-home scientist
USER scientist
WORKDIR /home/scientist
CMD ["cg-generate", "--help"]
