"""Work says how far it is under the name that its caller gives it."""

from crystalgraph.progress import at_stage, relabelled


def test_a_stage_is_named_once_and_silence_is_no_error():
    heard = []
    at_stage(lambda *call: heard.append(call), "relaxation")(3, 7)
    at_stage(None, "relaxation")(3, 7)
    assert heard == [("relaxation", 3, 7)]


def test_a_caller_may_give_work_another_name():
    heard = []
    other = relabelled(lambda *call: heard.append(call), "known phases")
    other("relaxation", 1, 2, "NbO")
    assert heard == [("known phases", 1, 2, "NbO")]
    assert relabelled(None, "known phases") is None
