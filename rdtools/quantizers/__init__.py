"""Quantizers: one method a file, each a frozen record of settings with one verb."""

from rdtools.quantizers.activations import ActivationQuantizer as ActivationQuantizer
from rdtools.quantizers.base import Quantizer as Quantizer
from rdtools.quantizers.base import SettledQuantizer as SettledQuantizer
from rdtools.quantizers.methods.crvq import CRVQ as CRVQ
from rdtools.quantizers.methods.gptq import GPTQ as GPTQ
from rdtools.quantizers.methods.gptq import HPTQ as HPTQ
from rdtools.quantizers.methods.lrc import LRC as LRC
from rdtools.quantizers.methods.qllm import QLLM as QLLM
from rdtools.quantizers.methods.qtip import QTIP as QTIP
from rdtools.quantizers.methods.quip import QuIP as QuIP
from rdtools.quantizers.methods.quip_sharp import QuIPSharp as QuIPSharp
from rdtools.quantizers.methods.rtn import HRTN as HRTN
from rdtools.quantizers.methods.rtn import RTN as RTN
from rdtools.quantizers.methods.scalar import ScalarQuantizer as ScalarQuantizer
from rdtools.quantizers.methods.trellis_sic import TrellisSIC as TrellisSIC
from rdtools.quantizers.methods.vector import VectorQuantizer as VectorQuantizer
from rdtools.quantizers.methods.waterfilled_gptq import WaterfilledGPTQ as WaterfilledGPTQ
from rdtools.quantizers.methods.watersic import WaterSIC as WaterSIC
from rdtools.quantizers.methods.weight_activation import WeightActivation as WeightActivation
from rdtools.quantizers.preparation import Preparation as Preparation
from rdtools.quantizers.problem import Problem as Problem
from rdtools.quantizers.problem import draw_basis as draw_basis
from rdtools.quantizers.problem import input_rotation as input_rotation
from rdtools.quantizers.problem import prepare as prepare
from rdtools.quantizers.search.learnt import check_adaptive_columns as check_adaptive_columns
from rdtools.quantizers.settings import check_rotation as check_rotation
