"""Every error that a user can meet, its exit code and what to do next.

DecentralizedError                1
|-- ConfigError                   2   mistakes in the configuration, all of them at once
|-- DataError                     3
|   |-- DataMissing                   no files where the data set should be
|   |-- DataCorrupt                   files that are not what they should be
|   |-- TooFewSamples                 a node would hold nothing
|   `-- DownloadError                 a download that did not end well
|-- TopologyError                 4   a graph that cannot be made, or that does not fit the nodes
|-- NetworkError                  5
|   |-- PeerSilent                    nothing came from a peer for network.deadline_s
|   |-- HelloMismatch                 two sides that do not run the same thing
|   `-- CodecError                    bytes that are not a message (dropped and counted, never fatal)
|-- NodeFailed                    6   a node raised, or was killed
|-- StorageError                  7   a disk that is full, or a run directory that is gone
|-- RunDirectoryError             8   a run directory that cannot be read
|   `-- CheckpointBroken              a check-point that is missing, torn, damaged or of another format
|-- StateError                        a memory that cannot be kept, or that is not this component's
`-- StartError                    9   processes or machines that did not come up
    `-- KeyFileError                  a run's key that is missing, or that others can read
Interrupted                     130   Ctrl-C
"""

from __future__ import annotations

from collections.abc import Sequence


class DecentralizedError(Exception):
    """Base of all errors. `str(error)` says what went wrong and where; `advice` says what to do next."""

    exit_code = 1
    advice = ""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        if advice:
            self.advice = advice


class ConfigError(DecentralizedError):
    """Mistakes in a configuration: one line each, with its place, what was expected, and the nearest known name."""

    exit_code = 2
    advice = "Mend the lines above; `decentralized check CONFIG` looks again without starting anything."

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


class DataError(DecentralizedError):
    """Something is wrong with the data."""

    exit_code = 3


class DataMissing(DataError):
    """No files where the data set should be."""


class DataCorrupt(DataError):
    """A data file is not what it should be."""

    advice = "Fetch the data set again, or compare the file with its owner's copy."


class TooFewSamples(DataError):
    """The partition leaves a node without training samples."""

    advice = "Use fewer nodes, more data, or another [data] partition."


class DownloadError(DataError):
    """A download did not end well."""


class TopologyError(DecentralizedError):
    """A graph that cannot be made, or that does not fit the number of nodes."""

    exit_code = 4
    advice = "Change [topology] or `nodes`; `decentralized topology CONFIG` draws the graph."


class NetworkError(DecentralizedError):
    """Something between two nodes went wrong."""

    exit_code = 5


class PeerSilent(NetworkError):
    """Nothing arrived from a peer for `network.deadline_s` seconds."""

    advice = "Look at the silent node's log; raise network.deadline_s if it was only slow."


class HelloMismatch(NetworkError):
    """Two sides do not run the same thing."""

    advice = "Start all machines with the same version of this package, the same configuration and the same IP map."


class CodecError(NetworkError):
    """Bytes that are not a message of this run. They are dropped and counted; they never stop a node."""


class NodeFailed(DecentralizedError):
    """A node process raised an exception or was killed."""

    exit_code = 6


class StorageError(DecentralizedError):
    """A file could not be written."""

    exit_code = 7
    advice = "Free space on that disk, or choose another place with --out."


class RunDirectoryError(DecentralizedError):
    """A run directory that cannot be read."""

    exit_code = 8


class CheckpointBroken(RunDirectoryError):
    """A check-point that is missing, torn, damaged or of another format."""

    advice = "Resume from an older check-point, or start the run again."


class StateError(DecentralizedError):
    """What a component remembers cannot be kept, or a state does not fit the component that is to go on from it."""

    advice = "Resume with the configuration and the package version that wrote the check-point, or start the run again."


class StartError(DecentralizedError):
    """Processes or machines did not come up."""

    exit_code = 9


class KeyFileError(StartError):
    """The key that the agents of a run share is missing, is none, or can be read by others."""


class Interrupted(DecentralizedError):
    """The user stopped the run."""

    exit_code = 130
