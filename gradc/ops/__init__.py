"""The ops: importing this package fills the registry. Each module says in its `__all__` what users call by name."""

from gradc.foreign import know_own_ops
from gradc.ops import (
    activations,
    choice,
    contraction,
    creation,
    decompositions,
    determinants,
    differences,
    elementwise,
    indexing,
    joining,
    linalg,
    nn,
    normalization,
    norms,
    order,
    padding,
    products,
    rearranging,
    reduction,
    scan,
    shaping,
    special,
    spectra,
    statistics,
    windows,
)
from gradc.ops.activations import *  # noqa: F403
from gradc.ops.choice import *  # noqa: F403
from gradc.ops.contraction import *  # noqa: F403
from gradc.ops.creation import *  # noqa: F403
from gradc.ops.decompositions import *  # noqa: F403
from gradc.ops.determinants import *  # noqa: F403
from gradc.ops.differences import *  # noqa: F403
from gradc.ops.elementwise import *  # noqa: F403
from gradc.ops.elementwise import abs_ as abs
from gradc.ops.elementwise import round_ as round
from gradc.ops.indexing import *  # noqa: F403
from gradc.ops.joining import *  # noqa: F403
from gradc.ops.linalg import *  # noqa: F403
from gradc.ops.nn import *  # noqa: F403
from gradc.ops.normalization import *  # noqa: F403
from gradc.ops.norms import *  # noqa: F403
from gradc.ops.order import *  # noqa: F403
from gradc.ops.padding import *  # noqa: F403
from gradc.ops.products import *  # noqa: F403
from gradc.ops.rearranging import *  # noqa: F403
from gradc.ops.reduction import *  # noqa: F403
from gradc.ops.reduction import all_ as all
from gradc.ops.reduction import any_ as any
from gradc.ops.reduction import max_ as max
from gradc.ops.reduction import min_ as min
from gradc.ops.reduction import sum_ as sum
from gradc.ops.scan import *  # noqa: F403
from gradc.ops.shaping import *  # noqa: F403
from gradc.ops.special import *  # noqa: F403
from gradc.ops.spectra import *  # noqa: F403
from gradc.ops.statistics import *  # noqa: F403
from gradc.ops.windows import *  # noqa: F403

know_own_ops()

__all__ = [
    "abs",
    "all",
    "any",
    "max",
    "min",
    "round",
    "sum",
    *activations.__all__,
    *creation.__all__,
    *joining.__all__,
    *padding.__all__,
    *rearranging.__all__,
    *choice.__all__,
    *contraction.__all__,
    *decompositions.__all__,
    *determinants.__all__,
    *differences.__all__,
    *elementwise.__all__,
    *indexing.__all__,
    *linalg.__all__,
    *nn.__all__,
    *normalization.__all__,
    *norms.__all__,
    *order.__all__,
    *products.__all__,
    *reduction.__all__,
    *scan.__all__,
    *shaping.__all__,
    *special.__all__,
    *spectra.__all__,
    *statistics.__all__,
    *windows.__all__,
]
