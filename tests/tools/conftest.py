"""The tools are scripts beside the package; here they can be imported by name."""

import importlib
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture
def tool(monkeypatch, quick_draws):  # noqa: ARG001 - what tools draw is drawn quickly
    """Import a tool: tool("bench_peers")."""
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module
