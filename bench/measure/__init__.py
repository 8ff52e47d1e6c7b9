"""How to measure truthfully: time, memory, FLOPs, threads, machine, and one cell in one process.

Knows nothing of models, data or metrics: it is handed a callable, or the name of one. Importing it does not import
torch; the functions that need it do so when called. Three passes, each in a process of its own, since each disturbs
the others: `count` (FLOPs), `time_calls` (latency), `host_memory` and `device_memory` (peaks).
"""

from bench.measure.clock import Noise, NoiseWindow, Timing, time_calls, time_each
from bench.measure.companion import Companion, CompanionFailed
from bench.measure.energy import Energy, EnergyCounter
from bench.measure.flops import FlopCount, Witness, count, dispatched, import_witnesses
from bench.measure.imports import imports_timed
from bench.measure.machine import Machine, this_machine, versions
from bench.measure.memory import DeviceMemory, HostMemory, device_memory, host_memory
from bench.measure.peak import copy_rate, matmul_peak
from bench.measure.process import Outcome, Progress, run_isolated
from bench.measure.stats import Summary, quantile, summarise
from bench.measure.threads import limit_threads, threads_in_force
from bench.measure.traffic import Traffic, traffic

__all__ = [
    "Companion",
    "CompanionFailed",
    "DeviceMemory",
    "Energy",
    "EnergyCounter",
    "FlopCount",
    "HostMemory",
    "Machine",
    "Noise",
    "NoiseWindow",
    "Outcome",
    "Progress",
    "Summary",
    "Timing",
    "Traffic",
    "Witness",
    "copy_rate",
    "count",
    "device_memory",
    "dispatched",
    "host_memory",
    "import_witnesses",
    "imports_timed",
    "limit_threads",
    "matmul_peak",
    "quantile",
    "run_isolated",
    "summarise",
    "this_machine",
    "threads_in_force",
    "time_calls",
    "time_each",
    "traffic",
    "versions",
]
