"""Linear algebra whose last bits do not depend on how many threads there are."""

from rdtools.threads import one_blas_thread as one_blas_thread
