def test_an_event_shows_its_data_its_duplicates_and_its_runs(as_viewer, happened):
    receipt = happened.event({"order": "A-1"}, key="delivery-1")
    happened.event({"order": "A-1"}, key="delivery-1")
    happened.event({"order": "A-1"}, key="delivery-1")

    page = as_viewer.get(f"/events/{receipt.event_id}")

    assert "A-1" in page.text
    assert "<dt>Duplicates ignored</dt><dd>2</dd>" in page.text
    assert f'href="/runs/{receipt.run_id}"' in page.text
    assert "Big orders" in page.text


def test_a_long_event_is_shown_in_part_and_kept_whole(as_viewer, happened):
    data = {"text": "y" * 50_000}
    receipt = happened.event(data)

    page, whole = (as_viewer.get(f"/events/{receipt.event_id}{rest}") for rest in ("", "/data.json"))

    assert "and 40000 more characters" in page.text
    assert "Download all of it" in page.text
    assert whole.json == data


def test_another_workspaces_event_is_not_there(as_stranger, happened):
    receipt = happened.event()

    assert as_stranger.get(f"/events/{receipt.event_id}").status_code == 404
    assert as_stranger.get(f"/events/{receipt.event_id}/data.json").status_code == 404
