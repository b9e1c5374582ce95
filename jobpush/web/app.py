"""
The routes of the protocol, put together.
"""

from __future__ import annotations

from jobpush.service import JobPush
from jobpush.web.access import Access
from jobpush.web.held.express import ExpressLane
from jobpush.web.held.following import Followers
from jobpush.web.held.holds import Holds
from jobpush.web.held.parked_streams import Garage
from jobpush.web.held.parking import ParkingLot
from jobpush.web.metrics import Metrics
from jobpush.web.routes.barriers import BarrierRoutes
from jobpush.web.routes.changes import ChangeRoutes
from jobpush.web.routes.common import app
from jobpush.web.routes.jobs import JobRoutes
from jobpush.web.routes.operations import OperationRoutes
from jobpush.web.routes.pages import PageRoutes
from jobpush.web.routes.workflows import WorkflowRoutes
from jobpush.web.static import Static


class Api(JobRoutes, ChangeRoutes, BarrierRoutes, WorkflowRoutes, OperationRoutes, PageRoutes):
    """
    :param static: a directory to serve beside the API; None for none.
    :param parking: see `jobpush.web.held.parking`.
    """

    app = app

    def __init__(
        self, service: JobPush, holds: Holds, access: Access, static: str | None = None, parking: bool = True
    ) -> None:
        super().__init__(service, holds, ParkingLot(service, holds, parking))
        self.access = access
        self.parking.lane = ExpressLane(
            {b"/v1/jobs/": self.job, b"/v1/changes": self.changes, b"/jobstatus": self.jobstatus}, access.check
        )
        self.followers = Followers(service)
        self.garage = Garage(self.parking)
        self.metrics = Metrics(service, holds)
        self.static_files = Static(static) if static is not None else None
