#!/usr/bin/env python3
"""moto's EC2 server, brought nearer to AWS where a controller that moves routes depends on it.

    <venv>/bin/python moto_aws.py --host 127.0.0.1 --port 0

prints one line of JSON, {"port": N}, when it listens, and ends when its standard input ends (so that it never outlives
whoever started it) or at SIGTERM.

What is corrected, each in a section of its own below:

  routes       black holes; instance and owner of a route; RouteAlreadyExists; canonical CIDRs; exactly one target;
               a refused ReplaceRoute changes nothing; a local route cannot be deleted; prefix lists keep theirs
  dry runs     DryRun never acts, and says DryRunOperation
  describing   DescribeRouteTables and DescribeNetworkInterfaces answer in pages; the filters on routes; an unknown
               filter of DescribeRouteTables is a 400
  interfaces   the source/destination check of an instance is its primary interface's; one in use cannot be deleted
  instances    transitional states and wrong-state errors; Force, SkipOsShutdown and Hibernate of StopInstances; stop
               and termination protection, under DryRun too; impaired status by tag
  permissions  UnauthorizedOperation, and policies on the ARNs of route tables, interfaces and instances

What is added, for a data plane and a hypervisor beside it:

  MOTO_AWS_CHANGES         a file that holds a count of changes, 20 digits and a newline, written in place by one write
                           after each change and before the answer to it leaves: watch it with inotify, never poll
  MOTO_AWS_HYPERVISOR=1    an instance is stopped, started or terminated only when the hypervisor says so:
                           POST /pointsman/instances/<id>/state {"state": "stopped" | "running" | "terminated"}
  MOTO_AWS_STOP_SECONDS, MOTO_AWS_START_SECONDS
                           otherwise: how long an instance is "stopping" or "pending" (default 0: not at all)
  GET /pointsman/instances/<id>
                           its state, how it was last asked to stop, how often to reboot
  tags moto:instance-status, moto:system-status on an instance
                           ok | impaired | initializing | insufficient-data

moto's inside is no API. `check_moto` fails the start, with what it misses, when a new version has moved something.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import ipaddress
import json
import logging
import os
import re
import signal
import sys
import threading
from typing import Any, Callable, Iterable

import moto
from moto.core.exceptions import _RESTError
from moto.core.responses import ActionResult, BaseResponse
from moto.ec2 import exceptions as ec2_errors
from moto.ec2.exceptions import DryRunClientError, EC2ClientError
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.models.elastic_network_interfaces import NetworkInterfaceBackend
from moto.ec2.models.instances import Instance, InstanceBackend, StateReason
from moto.ec2.models.route_tables import Route, RouteBackend, RouteTable
from moto.ec2.responses import EC2Response
from moto.ec2.responses.elastic_network_interfaces import ElasticNetworkInterfaces
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.responses.route_tables import RouteTables
from moto.ec2.responses.security_groups import SecurityGroups
from moto.ec2.responses.vpcs import VPCs
from moto.ec2.utils import generate_route_id
from moto.iam.access_control import IAMRequest, IAMRequestBase
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

MOTO_VERSION = "5.2.5"

# One request at a time, and no timer in the midst of one: moto has no locks of its own.
WORLD = threading.RLock()


# --- routes ----------------------------------------------------------------------------------------------------------

# The states in which an instance takes traffic. AWS: a route is a black hole when its target is not available.
LIVE = ("running", "pending")

TARGETS = (
    "gateway_id",
    "instance_id",
    "nat_gateway_id",
    "egress_only_igw_id",
    "transit_gateway_id",
    "interface_id",
    "vpc_peering_connection_id",
    "carrier_gateway_id",
    "vpc_endpoint_id",
)


def interface_of(route: Route) -> Any:
    """The interface a route leads to, directly or as the primary one of its instance."""
    if route.interface:
        return route.interface
    return route.instance.nics.get(0) if route.instance else None


def instance_of(route: Route) -> Any:
    if route.instance:
        return route.instance
    return route.interface.instance if route.interface else None


def route_state(route: Route) -> str:
    if route.local or not (route.interface or route.instance):
        return "active"
    interface, instance = interface_of(route), instance_of(route)
    if interface is None or instance is None:
        return "blackhole"
    exists = interface.id in route.route_table.ec2_backend.enis
    return "active" if exists and instance.state in LIVE else "blackhole"


def id_of(thing: Any) -> str | None:
    return thing.id if thing else None


def canonical(cidr: str | None, network: type) -> str | None:
    """EC2 keeps 10.8.1.1/16 as 10.8.0.0/16, and one spelling of each IPv6 network."""
    if not cidr:
        return cidr
    try:
        return str(network(cidr, strict=False))
    except ValueError:
        raise ec2_errors.InvalidDestinationCIDRBlockParameterError(cidr) from None


def require_one_target(targets: dict[str, Any]) -> None:
    given = [name for name in TARGETS if targets.get(name)]
    if not given:
        raise EC2ClientError(
            "MissingParameter",
            "The request must contain exactly one of gatewayId, natGatewayId, networkInterfaceId, "
            "vpcPeeringConnectionId, egressOnlyInternetGatewayId, transitGatewayId, localTarget, carrierGatewayId "
            "or instanceId",
        )
    if len(given) > 1:
        raise EC2ClientError("InvalidParameterCombination", "The parameters for route target are mutually exclusive")


def require_target_exists(backend: Any, targets: dict[str, Any]) -> None:
    """Looks every target up before anything stored is touched: moto clears the old one first."""
    if targets.get("interface_id"):
        backend.get_network_interface(targets["interface_id"])
    if targets.get("instance_id"):
        backend.get_instance(targets["instance_id"])
    if str(targets.get("gateway_id") or "").startswith("igw-"):
        backend.get_internet_gateway(targets["gateway_id"])
    nat = targets.get("nat_gateway_id")
    if nat and nat not in backend.nat_gateways:
        raise EC2ClientError("InvalidNatGatewayID.NotFound", f"The natGateway ID '{nat}' does not exist")


class Destination:
    """Where a route leads from, in the one spelling under which it is stored."""

    def __init__(self, v4: str | None, v6: str | None, prefix_list: str | None):
        self.v4 = canonical(v4, ipaddress.IPv4Network)
        self.v6 = canonical(v6, ipaddress.IPv6Network)
        self.prefix_list = prefix_list

    @property
    def name(self) -> str | None:
        return self.v4 or self.v6 or self.prefix_list

    def key(self, table: RouteTable) -> str:
        return generate_route_id(table.id, self.v4, self.v6, self.prefix_list)


def correct_routes() -> None:
    Route.state = property(route_state)
    Route.instance_id = property(lambda route: id_of(instance_of(route)))
    Route.instance_owner_id = property(lambda route: getattr(instance_of(route), "owner_id", None))
    Route.network_interface_id = property(lambda route: id_of(interface_of(route)))

    create_in_moto = RouteBackend.create_route
    replace_in_moto = RouteBackend.replace_route
    delete_in_moto = RouteBackend.delete_route

    def create_route(
        self: Any,
        route_table_id: str,
        destination_cidr_block: str | None,
        destination_ipv6_cidr_block: str | None = None,
        destination_prefix_list_id: str | None = None,
        local: bool = False,
        **targets: Any,
    ) -> Route:
        to = Destination(destination_cidr_block, destination_ipv6_cidr_block, destination_prefix_list_id)
        table = self.get_route_table(route_table_id)
        if not local:
            require_one_target(targets)
            require_target_exists(self, targets)
            if to.key(table) in table._routes:
                raise ec2_errors.RouteAlreadyExistsError(to.name)
        route = create_in_moto(self, route_table_id, to.v4, to.v6, to.prefix_list, local=local, **targets)
        if to.prefix_list and not route.destination_prefix_list:  # moto drops it from a route to an interface
            table._routes.pop(route.id, None)
            route.destination_prefix_list = self.managed_prefix_lists[to.prefix_list]
            route.id = to.key(table)
            table._routes[route.id] = route
        return route

    def replace_route(
        self: Any,
        route_table_id: str,
        destination_cidr_block: str | None,
        destination_ipv6_cidr_block: str | None = None,
        destination_prefix_list_id: str | None = None,
        nat_gateway_id: str | None = None,
        egress_only_igw_id: str | None = None,
        transit_gateway_id: str | None = None,
        **targets: Any,
    ) -> Route:
        targets["nat_gateway_id"] = nat_gateway_id
        targets["egress_only_igw_id"] = egress_only_igw_id
        targets["transit_gateway_id"] = transit_gateway_id
        to = Destination(destination_cidr_block, destination_ipv6_cidr_block, destination_prefix_list_id)
        table = self.get_route_table(route_table_id)
        stored = table._routes.get(to.key(table))
        if stored is None:
            raise ec2_errors.InvalidParameterValueErrorReplaceRoute(to.name)
        if not stored.local:
            require_one_target(targets)
        require_target_exists(self, targets)
        return replace_in_moto(self, route_table_id, to.v4, to.v6, to.prefix_list, **targets)

    def delete_route(
        self: Any,
        route_table_id: str,
        destination_cidr_block: str | None,
        destination_ipv6_cidr_block: str | None = None,
        destination_prefix_list_id: str | None = None,
    ) -> Route:
        to = Destination(destination_cidr_block, destination_ipv6_cidr_block, destination_prefix_list_id)
        table = self.get_route_table(route_table_id)
        stored = table._routes.get(to.key(table))
        if stored is not None and stored.local:
            raise EC2ClientError(
                "InvalidParameterValue", f"cannot remove local route {to.name} in route table {route_table_id}"
            )
        return delete_in_moto(self, route_table_id, to.v4, to.v6, to.prefix_list)

    RouteBackend.create_route = create_route
    RouteBackend.replace_route = replace_route
    RouteBackend.delete_route = delete_route


# --- dry runs --------------------------------------------------------------------------------------------------------

# What moto carries out, or answers, although DryRun is set.
IGNORES_DRY_RUN: dict[type, tuple[str, ...]] = {
    RouteTables: (
        "create_route",
        "replace_route",
        "delete_route",
        "describe_route_tables",
        "create_route_table",
        "delete_route_table",
        "associate_route_table",
        "disassociate_route_table",
        "replace_route_table_association",
    ),
    InstanceResponse: ("describe_instance_status", "describe_instance_attribute"),
    SecurityGroups: ("describe_security_groups",),
    VPCs: ("describe_vpc_attribute",),
}


def correct_dry_runs() -> None:
    for owner, names in IGNORES_DRY_RUN.items():
        for name in names:
            setattr(owner, name, obey_dry_run(getattr(owner, name)))


def obey_dry_run(action: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(action)
    def checked(self: Any) -> Any:
        if self._get_param("DryRun", False):
            table = self._get_param("RouteTableId")
            if table:
                self.ec2_backend.get_route_table(table)  # an unknown id is told under DryRun too
            raise DryRunClientError()
        return action(self)

    return checked


# --- describing ------------------------------------------------------------------------------------------------------

ROUTE_FILTERS = {
    "route.instance-id": "instance_id",
    "route.state": "state",
    "route.origin": "origin",
    "route.destination-ipv6-cidr-block": "destination_ipv6_cidr_block",
    "route.destination-prefix-list-id": "destination_prefix_list_id",
}

TOKEN_PREFIX = "tok-"


def correct_describing() -> None:
    filter_in_moto = RouteTable.get_filter_value

    def get_filter_value(self: RouteTable, filter_name: str, method_name: str | None = None) -> Any:
        attribute = ROUTE_FILTERS.get(filter_name)
        if attribute:
            values = (getattr(route, attribute) for route in self._routes.values())
            return [value for value in values if value]
        try:
            return filter_in_moto(self, filter_name, method_name)
        except NotImplementedError:
            raise EC2ClientError("InvalidParameterValue", f"The filter '{filter_name}' is invalid") from None

    RouteTable.get_filter_value = get_filter_value
    RouteTables.describe_route_tables = in_pages(RouteTables.describe_route_tables, "RouteTables")
    ElasticNetworkInterfaces.describe_network_interfaces = in_pages(
        ElasticNetworkInterfaces.describe_network_interfaces, "NetworkInterfaces"
    )


def in_pages(describe: Callable[[Any], ActionResult], key: str) -> Callable[[Any], ActionResult]:
    """MaxResults and NextToken. A token names the first item of its page."""

    @functools.wraps(describe)
    def page(self: Any) -> ActionResult:
        answer = describe(self)
        size, token = self._get_int_param("MaxResults"), self._get_param("NextToken")
        items = list(answer.result[key])
        start = 0 if not token else place_of(token, items)
        end = start + size if size else len(items)
        answer.result[key] = items[start:end]
        answer.result["NextToken"] = TOKEN_PREFIX + items[end].id if end < len(items) else None
        return answer

    return page


def place_of(token: str, items: list[Any]) -> int:
    for place, item in enumerate(items):
        if token == TOKEN_PREFIX + item.id:
            return place
    raise EC2ClientError("InvalidNextToken", "The token is invalid")


# --- interfaces ------------------------------------------------------------------------------------------------------


def correct_interfaces() -> None:
    def get_check(instance: Instance) -> bool:
        primary = getattr(instance, "nics", {}).get(0)
        return primary.source_dest_check if primary is not None else True

    def set_check(instance: Instance, value: bool) -> None:
        primary = getattr(instance, "nics", {}).get(0)
        if primary is not None:
            primary.source_dest_check = value

    Instance.source_dest_check = property(get_check, set_check)

    delete_in_moto = NetworkInterfaceBackend.delete_network_interface

    def delete_network_interface(self: Any, eni_id: str) -> None:
        interface = self.enis.get(eni_id)
        if interface is not None and interface.instance is not None and interface.instance.state != "terminated":
            raise EC2ClientError("InvalidParameterValue", f"Network interface '{eni_id}' is currently in use.")
        delete_in_moto(self, eni_id)

    NetworkInterfaceBackend.delete_network_interface = delete_network_interface


# --- instances -------------------------------------------------------------------------------------------------------

CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}

HYPERVISOR = os.environ.get("MOTO_AWS_HYPERVISOR") == "1"

# What the hypervisor may report in which state, and what the instance then is. A running instance whose guest has
# powered itself off is stopped as well.
CONFIRMATIONS = {
    ("stopping", "stopped"): "stopped",
    ("running", "stopped"): "stopped",
    ("pending", "running"): "running",
    ("shutting-down", "stopped"): "terminated",
    ("shutting-down", "terminated"): "terminated",
}

# "The reason for the most recent state transition", DescribeInstances.
STOP_REASON = ("Client.UserInitiatedShutdown", "User initiated shutdown")
HIBERNATE_REASON = ("Client.UserInitiatedHibernate", "User initiated hibernate")
GUEST_REASON = ("Client.InstanceInitiatedShutdown", "Instance initiated shutdown")


def set_state(instance: Instance, name: str) -> None:
    instance._state.name, instance._state.code = name, CODES[name]


def give_reason(instance: Instance, reason: tuple[str, str]) -> None:
    code, words = reason
    instance.state_reason = StateReason(f"{code}: {words}", code)


def wait_in(instance: Instance, transitional: str, final: str, seconds_in: str) -> None:
    """Puts an instance into a transitional state, which a timer or the hypervisor ends."""
    if HYPERVISOR:
        set_state(instance, transitional)
        return
    seconds = float(os.environ.get(seconds_in) or 0)
    if seconds <= 0:
        return
    set_state(instance, transitional)

    def settle() -> None:
        with WORLD:
            if instance.state == transitional:
                set_state(instance, final)
                CHANGES.count_one()

    timer = threading.Timer(seconds, settle)
    timer.daemon = True
    timer.start()


def require_state(instance: Instance, allowed: Iterable[str], verb: str) -> None:
    if instance.state not in allowed:
        raise EC2ClientError(
            "IncorrectInstanceState",
            f"The instance '{instance.id}' is not in a state from which it can be {verb}.",
        )


def release_interfaces(instance: Instance) -> None:
    """A terminated instance loses its primary interface; others are detached."""
    for interface in list(instance.nics.values()):
        if interface.delete_on_termination or interface.description == "Primary network interface":
            instance.ec2_backend.enis.pop(interface.id, None)
        if interface.id in instance.ec2_backend.enis:
            interface.instance, interface.attachment_id, interface.status = None, None, "available"


def status_by_tag(tag: str) -> property:
    details = {"ok": "passed", "impaired": "failed"}

    def status(instance: Instance) -> dict[str, Any]:
        if instance.state not in LIVE:
            return {"Status": "not-applicable"}
        value = {entry["key"]: entry["value"] for entry in instance.get_tags()}.get(tag, "ok")
        return {"Details": [{"Name": "reachability", "Status": details.get(value, value)}], "Status": value}

    return property(status)


def correct_instances() -> None:
    make_in_moto = Instance.__init__
    stop_in_moto, start_in_moto, terminate_in_moto = Instance.stop, Instance.start, Instance.terminate

    def make(self: Instance, *args: Any, **kwargs: Any) -> None:
        make_in_moto(self, *args, **kwargs)
        options = self.hibernation_options or {}
        self.hibernation_options = {"Configured": options.get("Configured") in (True, "true")}
        self.last_stop: dict[str, bool] | None = None
        self.reboots = 0

    def stop(self: Instance) -> Any:
        require_state(self, ("running", "pending", "stopping", "stopped"), "stopped")
        if self.state == "stopped":
            return copy_state(self)
        was_stopping = self.state == "stopping"
        previous = stop_in_moto(self)
        if was_stopping:
            set_state(self, "stopping")
        else:
            wait_in(self, "stopping", "stopped", "MOTO_AWS_STOP_SECONDS")
        return previous

    def start(self: Instance) -> Any:
        require_state(self, ("stopped", "running", "pending"), "started")
        if self.state != "stopped":
            return copy_state(self)
        previous = start_in_moto(self)
        self.last_stop = None
        wait_in(self, "pending", "running", "MOTO_AWS_START_SECONDS")
        return previous

    def reboot(self: Instance) -> None:
        require_state(self, LIVE, "rebooted")
        self.reboots += 1

    def terminate(self: Instance) -> Any:
        if self.state == "terminated":
            return copy_state(self)
        was = self.state
        previous = terminate_in_moto(self)
        if HYPERVISOR and was != "stopped":
            set_state(self, "shutting-down")
        else:
            release_interfaces(self)
        return previous

    Instance.__init__ = make
    Instance.stop, Instance.start, Instance.reboot, Instance.terminate = stop, start, reboot, terminate
    Instance.instance_status = status_by_tag("moto:instance-status")
    Instance.system_status = status_by_tag("moto:system-status")
    InstanceResponse.stop_instances = stop_instances
    InstanceResponse.start_instances = start_instances
    InstanceResponse.terminate_instances = refuse_protected(InstanceResponse.terminate_instances)


def copy_state(instance: Instance) -> Any:
    return type(instance._state)(instance._state.name, instance._state.code)


def stop_instances(self: Any) -> ActionResult:
    """StopInstances with all its options. Protection is told under DryRun too."""
    how = {
        "force": bool(self._get_bool_param("Force", False)),
        "skipOsShutdown": bool(self._get_bool_param("SkipOsShutdown", False)),
        "hibernate": bool(self._get_bool_param("Hibernate", False)),
    }
    instances = self.ec2_backend.get_multi_instances_by_id(self._get_param("InstanceIds", []))
    for instance in instances:
        if is_true(instance.disable_api_stop):
            raise EC2ClientError(
                "OperationNotPermitted",
                f"The instance '{instance.id}' may not be stopped. Modify its 'disableApiStop' instance attribute "
                "and try again.",
            )
        if how["hibernate"] and not instance.hibernation_options["Configured"]:
            raise EC2ClientError(
                "UnsupportedHibernationConfiguration",
                f"The instance '{instance.id}' is not configured for hibernation.",
            )
    self.error_on_dryrun()
    answer = []
    for instance in instances:
        was_live = instance.state in LIVE
        previous = instance.stop()
        if was_live or instance.state == "stopping":
            instance.last_stop = how
            give_reason(instance, HIBERNATE_REASON if how["hibernate"] else STOP_REASON)
        now = "stopping" if was_live else instance.state
        current = {"Code": CODES[now], "Name": now}
        answer.append({"InstanceId": instance.id, "CurrentState": current, "PreviousState": previous})
    return ActionResult({"StoppingInstances": answer})


def start_instances(self: Any) -> ActionResult:
    """moto says "pending" of one that runs as well."""
    self.error_on_dryrun()
    answer = []
    for instance, previous in self.ec2_backend.start_instances(self._get_param("InstanceIds", [])):
        now = "running" if previous.name == "running" else "pending"
        current = {"Code": CODES[now], "Name": now}
        answer.append({"InstanceId": instance.id, "CurrentState": current, "PreviousState": previous})
    return ActionResult({"StartingInstances": answer})


def refuse_protected(terminate: Callable[[Any], ActionResult]) -> Callable[[Any], ActionResult]:
    @functools.wraps(terminate)
    def checked(self: Any) -> ActionResult:
        for instance in self.ec2_backend.get_multi_instances_by_id(self._get_param("InstanceIds", [])):
            if is_true(instance.disable_api_termination):
                raise ec2_errors.OperationNotPermitted4(instance.id)
        return terminate(self)

    return checked


def is_true(value: Any) -> bool:
    """An attribute set by ModifyInstanceAttribute may be a text."""
    return value is True or str(value).lower() == "true"


# --- permissions -----------------------------------------------------------------------------------------------------


class Unauthorized(_RESTError):
    code = 403

    def __init__(self, arn: str, action: str):
        super().__init__(
            "UnauthorizedOperation",
            f"You are not authorized to perform this operation. User: {arn} is not authorized to perform: {action}",
        )


# The parameter that names what an action acts on, and the kind in its ARN.
RESOURCES = (
    ("RouteTableId", "route-table"),
    ("NetworkInterfaceId", "network-interface"),
    ("InstanceId", "instance"),
    ("InstanceId.1", "instance"),
)


def correct_permissions() -> None:
    deny_in_moto = IAMRequest._raise_access_denied

    def deny(self: Any) -> None:
        if self._service == "ec2":
            raise Unauthorized(self._access_key.arn, self._action)
        deny_in_moto(self)

    def determine_resource(self: Any) -> str:
        if self._get_action().startswith("Describe"):
            return "*"
        for parameter, kind in RESOURCES:
            value = (self.data.get(parameter) or [None])[0]
            if value:
                return f"arn:aws:ec2:{self.region}:{self.current_account}:{kind}/{value}"
        return "*"

    IAMRequest._raise_access_denied = deny
    EC2Response._determine_resource = determine_resource


# --- changes ---------------------------------------------------------------------------------------------------------


class Changes:
    """The count of changes, and its file."""

    def __init__(self, path: str | None):
        self.count = 0
        self.file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644) if path else None
        self.write()

    def count_one(self) -> None:
        self.count += 1
        self.write()

    def write(self) -> None:
        if self.file is not None:
            os.pwrite(self.file, b"%020d\n" % self.count, 0)


CHANGES = Changes(os.environ.get("MOTO_AWS_CHANGES"))

READS = ("Describe", "Get", "List", "Search")


# --- the server ------------------------------------------------------------------------------------------------------


class Server(DomainDispatcherApplication):
    """moto's WSGI application, one request at a time, with the hypervisor's door beside it."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        path = environ.get("PATH_INFO", "")
        with WORLD:
            door = re.fullmatch(r"/pointsman/instances/(i-[0-9a-f]+)(/state)?", path)
            if door:
                return instance_door(environ, start_response, door[1], bool(door[2]))
            return self.count_change(environ, start_response, path)

    def count_change(self, environ: dict[str, Any], start_response: Any, path: str) -> Any:
        seen: list[str] = []

        def remember(status: str, headers: Any, *rest: Any) -> Any:
            seen.append(status)
            return start_response(status, headers, *rest)

        changes = self.may_change(environ, path)
        answer = super().__call__(environ, remember)
        if changes and seen and seen[0].startswith("2"):
            CHANGES.count_one()
        return answer

    def may_change(self, environ: dict[str, Any], path: str) -> bool:
        if path == "/moto-api/reset":
            return True
        action = self.get_action_from_body(self._get_body(environ))
        return action is not None and not action.startswith(READS)


def instance_door(environ: dict[str, Any], start_response: Any, instance_id: str, to_state: bool) -> Any:
    instance = find_instance(instance_id)
    if instance is None:
        return reply(start_response, "404 Not Found", {"error": f"no instance {instance_id}"})
    if to_state and environ.get("REQUEST_METHOD") == "POST":
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        reported = json.loads(body or b"{}").get("state")
        if reported != instance.state:
            becomes = CONFIRMATIONS.get((instance.state, reported))
            if becomes is None:
                words = f"instance {instance_id} is {instance.state}: it cannot become {reported!r}"
                return reply(start_response, "409 Conflict", {"error": words})
            confirm(instance, becomes)
    return reply(start_response, "200 OK", describe(instance))


def confirm(instance: Instance, becomes: str) -> None:
    if instance.state == "running":
        instance.last_stop = None
        give_reason(instance, GUEST_REASON)
    set_state(instance, becomes)
    if becomes == "terminated":
        release_interfaces(instance)
    CHANGES.count_one()


def describe(instance: Instance) -> dict[str, Any]:
    return {
        "instanceId": instance.id,
        "state": instance.state,
        "lastStop": instance.last_stop,
        "reboots": instance.reboots,
    }


def find_instance(instance_id: str) -> Instance | None:
    for account in ec2_backends.values():
        for backend in account.values():
            for instance in backend.all_instances():
                if instance.id == instance_id:
                    return instance
    return None


def reply(start_response: Any, status: str, body: dict[str, Any]) -> list[bytes]:
    data = json.dumps(body).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(data)))])
    return [data]


# --- what of moto's inside all this rests on -------------------------------------------------------------------------

PARAMETERS = (
    (
        RouteBackend,
        "create_route",
        "self route_table_id destination_cidr_block destination_ipv6_cidr_block destination_prefix_list_id local "
        "gateway_id instance_id nat_gateway_id egress_only_igw_id transit_gateway_id interface_id "
        "vpc_peering_connection_id carrier_gateway_id vpc_endpoint_id",
    ),
    (
        RouteBackend,
        "replace_route",
        "self route_table_id destination_cidr_block destination_ipv6_cidr_block destination_prefix_list_id "
        "nat_gateway_id egress_only_igw_id transit_gateway_id gateway_id instance_id interface_id "
        "vpc_peering_connection_id",
    ),
    (
        RouteBackend,
        "delete_route",
        "self route_table_id destination_cidr_block destination_ipv6_cidr_block destination_prefix_list_id",
    ),
    (RouteTable, "get_filter_value", "self filter_name method_name"),
    (NetworkInterfaceBackend, "delete_network_interface", "self eni_id"),
    (InstanceBackend, "stop_instances", "self instance_ids"),
    (Instance, "stop", "self"),
    (Instance, "start", "self"),
    (Instance, "reboot", "self"),
    (Instance, "terminate", "self"),
    (InstanceResponse, "stop_instances", "self"),
    (InstanceResponse, "start_instances", "self"),
    (InstanceResponse, "terminate_instances", "self"),
    (RouteTables, "describe_route_tables", "self"),
    (ElasticNetworkInterfaces, "describe_network_interfaces", "self"),
    (IAMRequestBase, "_raise_access_denied", "self"),
    (DomainDispatcherApplication, "__call__", "self environ start_response"),
    (DomainDispatcherApplication, "_get_body", "self environ"),
    (DomainDispatcherApplication, "get_action_from_body", "self body"),
)


def check_moto() -> None:
    """Ends the process, naming what is missing, when moto is not the one that the corrections were written for."""
    problems = []
    if moto.__version__ != MOTO_VERSION:
        problems.append(f"it is moto {moto.__version__}, and the corrections were written for {MOTO_VERSION}")
    for owner, name, expected in PARAMETERS:
        found = getattr(owner, name, None)
        if found is None:
            problems.append(f"{owner.__name__}.{name} is gone")
            continue
        parameters = " ".join(inspect.signature(found).parameters)
        if parameters != expected:
            problems.append(f"{owner.__name__}.{name} takes ({parameters}), not ({expected})")
    for owner, names in IGNORES_DRY_RUN.items():
        problems += [f"{owner.__name__}.{name} is gone" for name in names if not hasattr(owner, name)]
    if "_determine_resource" not in inspect.getsource(BaseResponse):
        problems.append("BaseResponse no longer asks _determine_resource for the ARN that a policy is held against")
    for name in ("create_route", "replace_route", "delete_route", "delete_network_interface"):
        if name in vars(EC2Backend):
            problems.append(f"EC2Backend.{name} now hides the one that is corrected")
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        sys.exit(f"Cannot correct moto: its inside has changed\n{lines}\nAdapt {__file__}, or pin moto=={MOTO_VERSION}")


def end_with_input() -> None:
    """Whoever started this holds the other end of standard input: when they are gone, so is this."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(description="moto as EC2, corrected")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--verbose", action="store_true", help="a line per request on standard error")
    options = parser.parse_args()

    check_moto()
    for correct in (
        correct_routes,
        correct_dry_runs,
        correct_describing,
        correct_interfaces,
        correct_instances,
        correct_permissions,
    ):
        correct()

    logging.getLogger("werkzeug").setLevel(logging.INFO if options.verbose else logging.ERROR)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    app = Server(create_backend_app)
    server = make_server(options.host, options.port, app, threaded=True, request_handler=MotoRequestHandler)
    os.environ.setdefault("MOTO_PORT", str(server.port))
    end_with_input()
    print(json.dumps({"port": server.port}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
