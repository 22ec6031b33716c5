"""Quantizers: one method a file, each a frozen record of settings with one verb."""

from rdtools.quantizers.base import Quantizer as Quantizer
from rdtools.quantizers.base import ScalarQuantizer as ScalarQuantizer
from rdtools.quantizers.base import infeasible_reason as infeasible_reason
from rdtools.quantizers.gptq import GPTQ as GPTQ
from rdtools.quantizers.problem import Problem as Problem
from rdtools.quantizers.problem import prepare as prepare
from rdtools.quantizers.qtip import QTIP as QTIP
from rdtools.quantizers.quip import QuIP as QuIP
from rdtools.quantizers.quip_sharp import QuIPSharp as QuIPSharp
from rdtools.quantizers.rate_search import check_rate as check_rate
from rdtools.quantizers.rtn import RTN as RTN
from rdtools.quantizers.settings import check_damping as check_damping
from rdtools.quantizers.settings import check_rotation as check_rotation
from rdtools.quantizers.vector import VectorQuantizer as VectorQuantizer
from rdtools.quantizers.waterfilled_gptq import WaterfilledGPTQ as WaterfilledGPTQ
from rdtools.quantizers.watersic import WaterSIC as WaterSIC
