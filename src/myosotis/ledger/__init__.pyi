from .claims import (
    Claim as Claim,
    claim_of_audit as claim_of_audit,
    claim_of_run as claim_of_run,
    directory_digest as directory_digest,
)
from .merkle import Frontier as Frontier, merkle_root as merkle_root
from .recording import Recorded as Recorded, record_run as record_run
from .store import Ledger as Ledger
from .verification import Check as Check, Trusted as Trusted, verify_ledger as verify_ledger
