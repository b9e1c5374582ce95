"""
How jobpush is packaged. The adapters live beside the service, not in it; the plugins join Twisted's own package; what an
administrator installs besides (``etc``) is the data package ``jobpush_samples``, which ``jobpush sample`` reads.
"""

import re
from pathlib import Path

from setuptools import setup

here = Path(__file__).parent
found = re.search(r'__version__ = "(.+)"', (here / "jobpush" / "__init__.py").read_text())
assert found is not None


def long_description() -> str:
    """Return the README without what means something only beside its files: pictures, and links to other files."""
    text = (here / "README.md").read_text()
    target = r"\((?!https?:)[^)]*\)"
    text = re.sub(rf"^!\[[^\]]*\]{target}\n\n?", "", text, flags=re.MULTILINE)
    text = re.sub(rf" \(\[[^\]]*\]{target}\)", "", text)  # "([more](docs/guide.md))"
    return re.sub(rf"\[([^\]]*)\]{target}", r"\1", text)


#: What the unit tests need.
UNIT_TESTS = [
    "argon2-cffi >= 23.1",
    "hypothesis >= 6.100",
    "jsonschema >= 4.20",
    "markdown-it-py >= 3",
    "openapi-spec-validator >= 0.7.1",
    "orjson >= 3.9",
    "prometheus_client >= 0.20",
    "PyJWT[crypto] >= 2.8",
    "pyOpenSSL >= 24.3",
    "pytest >= 8",
    "pytest-timeout >= 2.3",
    "pytest-twisted >= 1.14.3",
    "rich >= 13",
    "service-identity >= 24.1",
    "setuptools >= 77",
    "shtab >= 1.7",
    "towncrier >= 24.7",
    "treq >= 24.9",
    "wsproto >= 1.2",
]

setup(
    name="jobpush",
    version=found[1],
    description="Push every change of a batch job's state to the HTTP clients that wait for it",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    license_expression="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    # Listed by hand: never an __init__.py in twisted/ or twisted/plugins/, it would replace Twisted's own.
    packages=[
        "jobpush", "jobpush.adapter", "jobpush.core", "jobpush.core.wire", "jobpush.events", "jobpush.polling",
        "jobpush.runtime", "jobpush.web", "jobpush.web.held", "jobpush.web.routes", "jobpush_adapters",
        "jobpush_adapters.common", "jobpush_adapters.mock", "jobpush_adapters.pbs", "jobpush_adapters.sge",
        "jobpush_adapters.slurm", "jobpush_client", "jobpush_client.cli", "jobpush_samples", "twisted.plugins",
    ],
    package_dir={
        "": ".",
        "jobpush_adapters": "adapters/jobpush_adapters",
        "jobpush_client": "client/jobpush_client",
        "jobpush_samples": "etc",
    },
    package_data={
        "jobpush": ["py.typed"],
        "jobpush.web": ["dashboard/*"],
        "jobpush_adapters": ["py.typed"],
        "jobpush_client": ["py.typed"],
        "jobpush_samples": [
            "jobpush.toml", "jobpush.service", "jobpush.socket", "jobpush-health", "nginx.conf", "haproxy.cfg",
            "hooks/*", "parsl/*.py", "snakemake/*",
        ],
    },
    include_package_data=False,
    # Twisted finds plugins by scanning directories: an import hook would hide them.
    options={"editable_wheel": {"mode": "strict"}},
    install_requires=[
        "attrs >= 22.2",
        "klein >= 24.8",
        # All unit tests pass with 26.10.0. tests/web passes with 25.5.0 and 26.4.0 too, and fails with 24.3.0, 24.7.0, 24.11.0:
        # their sites do not know parsePOSTFormSubmission. Versions before 26.10 were not tested any further.
        "Twisted >= 26.10",
        "Werkzeug >= 2.3",
        "zope.interface >= 6",
        'tomli >= 2; python_version < "3.11"',
    ],
    entry_points={"console_scripts": ["jobpush = jobpush_client.cli:script"]},
    extras_require={
        "bench": ["aiohttp >= 3.9", "tornado >= 6.4"],
        "cli": ["rich >= 13", "shtab >= 1.7"],
        "client": ["treq >= 24.9"],
        "fast": ["orjson >= 3.9"],
        "jwt": ["PyJWT[crypto] >= 2.8"],
        "metrics": ["prometheus_client >= 0.20"],
        "tls": ["pyOpenSSL >= 24.3"],
        "users": ["argon2-cffi >= 23.1"],
        "websocket": ["wsproto >= 1.2"],
        "oidc": ["PyJWT[crypto] >= 2.8", "pyOpenSSL >= 24.3", "service-identity >= 24.1"],
        "testing": ["hypothesis >= 6.100"],
        "unit-tests": UNIT_TESTS,
        "dev": [
            *UNIT_TESTS,
            "axe-playwright-python >= 0.1.4",
            "build",
            "coverage >= 7.4",
            "import-linter >= 2",
            "mkdocs >= 1.5",
            "mypy >= 1.10",
            "mypy-zope >= 1.0.5",
            "playwright >= 1.45",
            "pyseccomp >= 0.1.2",
            "ruff >= 0.6",
            "websockets >= 14",
        ],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Framework :: Twisted",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: System :: Clustering",
        "Topic :: System :: Distributed Computing",
        "Typing :: Typed",
    ],
    zip_safe=False,
)
