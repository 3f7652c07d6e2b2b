"""Kafka's jars: fetched once by Maven, kept in the user's cache, run by the JDK that is here.

A cache directory appears whole or not at all: Maven fills a directory beside it that is
then renamed, so an interrupted run leaves nothing that looks usable.
"""

import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

KAFKA_4 = "4.3.1"  # kafka-tools, where the console consumer lives, ends here; kafka_2.13 does not
KAFKA_3 = "3.9.2"  # the last of the 3.x line
VERSIONS = (KAFKA_4, KAFKA_3)
DEFAULT_VERSION = KAFKA_4

_OLDEST_JAVA = 17
_POM = Path(__file__).with_name("pom.xml")
_JVM_FLAGS = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Djava.net.preferIPv4Stack=true",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
)


class KafkaUnavailableError(RuntimeError):
    """Kafka cannot run here: no JDK, no Maven, or no way to the artifacts."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """One Kafka version, ready to run."""

    version: str
    java: str
    home: Path

    @property
    def classes(self) -> Path:
        """The class archive, which makes every JVM start in about half the time.

        The first cluster of a version records it when it closes. A JVM uses no other JVM's
        archive, hence the name.
        """
        return self.home / f"classes-{_java_digest(self.java)}.jsa"

    @property
    def class_path(self) -> str:
        """All of Kafka's jars, as java's -cp takes them."""
        return os.pathsep.join(sorted(str(jar) for jar in (self.home / "libs").glob("*.jar")))

    def command(
        self, main_class: str, *args: str, heap_mb: int = 256, record: Path | None = None
    ) -> list[str]:
        """Return the command line of a broker or a tool; `record` gets its classes at its end."""
        return [
            self.java,
            f"-Xmx{heap_mb}m",
            *_JVM_FLAGS,
            *self._archive_flags(record),
            "-cp",
            self.class_path,
            main_class,
            *args,
        ]

    def _archive_flags(self, record: Path | None) -> list[str]:
        if record is not None:
            return [f"-XX:ArchiveClassesAtExit={record}"]
        return [f"-XX:SharedArchiveFile={self.classes}"] if self.classes.exists() else []


def distribution(version: str = DEFAULT_VERSION) -> Distribution:
    """Return `version` from the cache, filling the cache when it is not there yet."""
    java = _find_java()
    home = _cache_root() / f"kafka-{version}"
    if not home.exists():
        _fill(home, version)
    return Distribution(version, java, home)


def keep(made: Path, cached: Path) -> None:
    """Put a finished file into the cache in one step: others see all of it or nothing."""
    staged = cached.with_name(f".{cached.name}-{os.getpid()}")
    shutil.copy(made, staged)
    staged.replace(cached)


@functools.cache
def kafka_unavailable_reason(version: str = DEFAULT_VERSION) -> str | None:
    """Return why Kafka cannot run here, for a test that skips; None if it can."""
    try:
        distribution(version)
    except KafkaUnavailableError as error:
        return str(error)
    return None


def _find_java() -> str:
    home = os.environ.get("JAVA_HOME")
    at_home = shutil.which("java", path=f"{home}/bin") if home else None
    java = at_home or shutil.which("java")
    if java is None:
        raise KafkaUnavailableError(f"no java on PATH; install a JDK {_OLDEST_JAVA}")
    banner = _java_banner(java)
    match = re.search(r'version "(?:1\.)?(\d+)', banner)
    if match is None:
        raise KafkaUnavailableError(f"{java} -version wrote {banner.strip()!r}")
    if int(match[1]) < _OLDEST_JAVA:
        raise KafkaUnavailableError(
            f"{java} is Java {match[1]}; Kafka needs {_OLDEST_JAVA} or newer"
        )
    return java


def _java_digest(java: str) -> str:
    return hashlib.sha256(_java_banner(java).encode()).hexdigest()[:8]


@functools.cache
def _java_banner(java: str) -> str:
    return subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr


def _cache_root() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "kiel_logging"


def _fill(home: Path, version: str) -> None:
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=f".{home.name}-") as scratch:
        staged = Path(scratch) / "kafka"
        _copy_jars(staged / "libs", version)
        try:
            staged.rename(home)
        except OSError:
            if not home.exists():  # else another run was faster, and its copy is as good
                raise


def _copy_jars(libs: Path, version: str) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaUnavailableError(f"no mvn on PATH to fetch Kafka {version} with; install Maven")
    # A copy of the pom: Maven writes files beside it.
    libs.mkdir(parents=True)
    pom = Path(shutil.copy(_POM, libs.parent))
    command = [maven, "-q", "-B", "-f", str(pom), f"-Dkafka.version={version}"]
    command += ["dependency:copy-dependencies", "-DincludeScope=runtime"]
    command += [f"-DoutputDirectory={libs}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise KafkaUnavailableError(f"Maven cannot fetch Kafka {version}: {_first_error(done)}")


def _first_error(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stdout + done.stderr).splitlines()
    errors = [line.partition("[ERROR] ")[2] for line in lines]
    return next(filter(None, errors), f"exit status {done.returncode}")
