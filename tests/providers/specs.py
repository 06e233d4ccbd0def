"""Where the providers' own specifications lie: in `shared/specs`, beside the checkout or above it."""

from pathlib import Path


def spec_path(name: str) -> Path:
    """The file of that name (`twilio/twilio_api_v2010.json`). Fails where it is missing: nothing else would judge."""
    for folder in Path(__file__).resolve().parents:
        found = folder / "shared" / "specs" / name
        if found.is_file():
            return found
    raise FileNotFoundError(f"shared/specs/{name} is neither beside the checkout nor above it")
