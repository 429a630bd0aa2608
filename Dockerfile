# crystalgraph with relaxation on CPUs:
#   docker build -t crystalgraph .
#   docker run --rm -v "$PWD/runs:/work/runs" crystalgraph cg-generate -n 20
FROM python:3.11-slim

WORKDIR /src
COPY setup.cfg pyproject.toml constraints.txt LICENSE README.md ./
COPY crystalgraph crystalgraph
COPY datasets datasets
# The CPU build of torch comes from PyTorch's own index; everything else is pinned.
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
        --constraint constraints.txt ".[relax]" \
    && rm -rf /src \
    && useradd --create-home scientist
USER scientist
WORKDIR /work
CMD ["cg-generate", "--help"]
