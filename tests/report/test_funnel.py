from dataclasses import replace

import pytest

from crystalgraph.report.funnel import funnel_lines

pytestmark = pytest.mark.slow


@pytest.fixture
def lines(finished_run):
    return funnel_lines(finished_run.result, finished_run.record)


def test_every_sample_is_counted(lines, finished_run):
    by_name = {line.name: line for line in lines}
    assert by_name["drawn"].count == finished_run.record["counts"]["drawn"] == 8
    judged = by_name["different, with an energy"]
    entered = lines.index(judged)
    assert judged.count + sum(line.count for line in lines[:entered] if line.is_loss) == 8
    after = [line for line in lines[entered + 1 :] if line.is_loss]
    assert judged.count - sum(line.count for line in after) == by_name["relaxed"].count == 4
    assert lines[-1].name == "selected"
    assert lines[-1].count == finished_run.record["counts"]["selected"]
    assert sorted(by_name["strict"].reasons) == ["1 × atoms … Å apart", "1 × density … g/cm³"]


def test_the_lowest_energy_is_named(lines, finished_run):
    assert lines[-2].meaning == "lowest +0.012 eV/atom above the hull; 3 at most 0.1"
    record = finished_run.record | {"relaxation": finished_run.record["relaxation"] | {"relaxed": 0}}
    assert funnel_lines(replace(finished_run.result, outcomes={}), record)[-2].meaning == ""


def test_without_relaxation_it_ends_with_the_selected(finished_run):
    record = {key: value for key, value in finished_run.record.items() if key != "relaxation"}
    assert [line.name for line in funnel_lines(finished_run.result, record)] == ["drawn", "strict", "selected"]
