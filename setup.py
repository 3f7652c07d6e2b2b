"""The distribution: its files, its dependencies and its command."""

import re
from pathlib import Path

from setuptools import Extension, find_packages, setup

KAFKA = ["confluent-kafka>=2.6", "cryptography>=42", "kio>=0.6.5,<0.7"]
"""For the Apache Kafka cluster of tests, benchmarks and `make kafka`."""

EXTRAS = {
    "bench": [
        *KAFKA,
        "aiokafka>=0.12",
        "cramjam>=2.8",  # aiokafka's snappy
        "kafka-logging-handler>=0.2.5",
        "kafka-python>=3",
        "matplotlib>=3.9",
        "opentelemetry-exporter-otlp-proto-http>=1.30",
        "opentelemetry-instrumentation-logging>=0.60b0",
        "orjson>=3.9",
    ],
    "demo": ["confluent-kafka>=2.6"],
    "kafka": KAFKA,
    "proof": ["cryptography>=42", "rfc3161-client>=1.0"],
    "tail": ["confluent-kafka>=2.6"],
    "verify": ["confluent-kafka>=2.6", "cryptography>=42", "rfc3161-client>=1.0", "rich>=13"],
    "consistent": ["uhashring>=2.3"],
    "lz4": ["lz4>=4"],
    "prometheus": ["prometheus-client>=0.20"],
    "zstd": ["zstandard>=0.22"],
    "test": [
        *KAFKA,
        "attrs>=23",
        "aws-msk-iam-sasl-signer-python>=1.0.1",
        "awslambdaric>=3",
        "billiard>=4",
        "celery>=5.5",
        "django>=5.2",
        "dramatiq>=1.17",
        "ecs-logging>=2.2",
        "eventlet>=0.36",
        "fakeredis[lua]>=2.30",
        "fastapi>=0.115",
        "flask>=3.1",
        "graypy>=2.1",
        "gevent>=24",
        "gunicorn>=25",
        "hypothesis>=6.100",
        "ipykernel>=6.29",
        "jupyter-client>=8.6",
        "loguru>=0.7",
        "lz4>=4",
        "nest-asyncio>=1.6",
        "numpy>=2",
        "opentelemetry-exporter-otlp-proto-common>=1.30",
        "opentelemetry-proto>=1.30",
        "opentelemetry-sdk>=1.30",
        "orjson>=3.9",  # reads JSON more strictly than Python does
        "playwright>=1.49",  # drives the system's Chromium
        "prometheus-client>=0.20",
        "promql-parser>=0.11",  # reads the queries in contrib/
        "pydantic>=2",
        "pytest>=8.2",
        "pytest-timeout>=2.3",
        "pytest-tornado==0.8.1",
        "pytest-xdist>=3.6",
        "pyyaml>=6",
        "pyuwsgi>=2.0.27; sys_platform == 'linux'",  # uWSGI, without compiling it
        "redis>=5",
        "rfc3161-client>=1.0",
        "rich>=13",
        "rq>=2",
        "sentry-sdk>=2.20",
        # pytest-tornado 0.8.1 imports pkg_resources, which setuptools 81 removed.
        "setuptools<81",
        "structlog>=24",
        "uhashring>=2.3",
        "uvicorn>=0.34",
        "zstandard>=0.22",
    ],
    "lint": ["mypy>=1.13", "ruff>=0.8", "types-PyYAML", "types-docutils"],
    "docs": ["furo>=2024.8", "sphinx>=8"],
}
EXTRAS["dev"] = [*EXTRAS["test"], *EXTRAS["lint"], *EXTRAS["docs"]]

HERE = Path(__file__).parent
ACCELERATOR = HERE / "kiel_logging" / "accelerator"
CONSTANTS = (HERE / "kiel_logging" / "constants.py").read_text(encoding="utf-8")
VERSION = re.search(r'^VERSION: Final = "(.+)"$', CONSTANTS, re.MULTILINE)
assert VERSION is not None

REPOSITORY = "https://github.com/kiel-logging/kiel-logging"

setup(
    name="kiel_logging",
    version=VERSION[1],
    description="Python log records to Kafka: a logging.Handler and a Tornado/asyncio Producer.",
    long_description=(HERE / "README.rst").read_text(encoding="utf-8"),
    long_description_content_type="text/x-rst",
    license="Apache-2.0",
    url=REPOSITORY,
    project_urls={
        "Changelog": f"{REPOSITORY}/blob/main/CHANGELOG.rst",
        "Documentation": f"{REPOSITORY}/tree/main/docs",
        "Issues": f"{REPOSITORY}/issues",
        "Security": f"{REPOSITORY}/security/policy",
    },
    keywords=[
        "asyncio",
        "audit",
        "kafka",
        "kafka producer",
        "logging",
        "logging handler",
        "tornado",
    ],
    python_requires=">=3.11",
    packages=find_packages(include=["kiel_logging", "kiel_logging.*"]),
    package_data={"kiel_logging": ["py.typed", "*.pyi", "view/page.html"]},
    # Faster where there is a C compiler, or a wheel; without it everything works as well.
    ext_modules=[
        Extension(
            "kiel_logging._accelerator",
            sorted(str(path.relative_to(HERE)) for path in ACCELERATOR.glob("*.c")),
            depends=sorted(str(path.relative_to(HERE)) for path in ACCELERATOR.glob("*.h")),
            optional=True,
        )
    ],
    install_requires=[
        "crc32c>=2.5",
        "python-snappy>=0.7",
        "scramp>=1.4.18",
        "tornado>=6.4",
    ],
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": ["kiel-logging = kiel_logging.cli:main"],
        "pytest11": ["kiel_logging = kiel_logging.pytest_plugin"],
        "pyinstaller40": ["hook-dirs = kiel_logging.pyinstaller:hook_directories"],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Framework :: AsyncIO",
        "Intended Audience :: Developers",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: System :: Logging",
        "Typing :: Typed",
    ],
)
