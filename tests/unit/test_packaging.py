"""Properties of the repository that packaging and imports need."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_folder_operator_is_no_package_and_does_not_shadow_the_standard_library() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()
    probe = "import operator, sys; sys.exit(not hasattr(operator, 'itemgetter'))"
    subprocess.run([sys.executable, "-S", "-c", probe], cwd=ROOT, check=True, timeout=280)


def test_the_product_never_imports_the_configuration_or_the_tests() -> None:
    for module in [*(ROOT / "operator").rglob("*.py"), *(ROOT / "forecasting").rglob("*.py")]:
        text = module.read_text()
        assert "from config" not in text, module
        assert "from tests" not in text, module
