"""Reading HDF5 without libhdf5, which crashes and hangs on damaged files: in Python, and only what descriptors need.

Every place and length is held against the file before it is used; nothing else than this file is read, and no filter
but deflate, shuffle and fletcher32 is known. What is rarer (soft and external links, storage in other files, plug-ins,
groups of hundreds of datasets, chunks that can grow in HDF5's newer ways) is refused in words. Files are written by
h5py. Names as in the format's specification, version 3: https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html
"""

from bench.features.hdf5.content import Damaged, Short
from bench.features.hdf5.file import Dataset, File
from bench.features.hdf5.layouts import Chunked, Contiguous, Source, Virtual

__all__ = ["Chunked", "Contiguous", "Damaged", "Dataset", "File", "Short", "Source", "Virtual"]
