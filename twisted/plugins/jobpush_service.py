"""``twistd jobpush``, and the queues and listeners that come with it."""

from twisted.application.service import ServiceMaker

from jobpush.auth_types import OidcFactory, ProxyFactory, SlurmTokenFactory, UsersFactory
from jobpush.events.listeners import LogListenerFactory
from jobpush.tls_endpoint import TlsEndpointParser
from jobpush_adapters.factories import GridEngineFactory, MockFactory, PbsFactory, SlurmFactory

jobpush = ServiceMaker(
    "jobpush",
    "jobpush.tap",
    "Push the changes of batch jobs to the HTTP clients that wait for them.",
    "jobpush",
)
slurm = SlurmFactory()
sge = GridEngineFactory()
pbs = PbsFactory()
mock = MockFactory()
log_listener = LogListenerFactory()
oidc = OidcFactory()
proxy = ProxyFactory()
slurm_tokens = SlurmTokenFactory()
tls_endpoint = TlsEndpointParser()
users = UsersFactory()
