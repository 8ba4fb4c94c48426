"""Fixtures and the table that several test files share."""

import pytest


def pytest_collection_modifyitems(items):
    """Tests that take minutes may take some more of them."""
    for item in items:
        if item.get_closest_marker("long") or item.get_closest_marker("cluster"):
            item.add_marker(pytest.mark.timeout(2400))


@pytest.fixture(scope="session", autouse=True)
def _own_runs():
    """No test records its runs where the person who tests records theirs."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "SCAN_TRACKING"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def scan():
    """The measured model at a small size; nobody changes it."""
    from small_models import tiny_scan  # imports torch: only for the tests that need it

    return tiny_scan()


@pytest.fixture(scope="session")
def pack(request):
    """The measured numbers of the released model."""
    from parity_pack import Pack

    pack = Pack()
    request.config.stash[_PACK] = pack
    return pack


_PACK = pytest.StashKey()


def pytest_terminal_summary(terminalreporter, config):
    """Print how far each stage is from the released model."""
    pack = config.stash.get(_PACK, None)
    if pack is None or not pack.stages:
        return
    terminalreporter.section("largest relative difference to the released model")
    terminalreporter.write_line(f"{'stage':<44} {'largest':>9} {'allowed':>9} {'values':>7}")
    for stage, (largest, allowed, count) in pack.stages.items():
        terminalreporter.write_line(f"{stage:<44} {largest:9.1e} {allowed:9.1e} {count:7d}")
