/**
 * The VPC of the article as network namespaces. Everybody hangs on one router, as on EC2, where a packet between two
 * hosts of one subnet goes through the VPC's mapping too.
 *
 *     client 10.0.1.100 (A1) ─┐            ┌─ server1 10.0.2.10 (A2)
 *                             ├── router ──┤
 * controller 10.0.3.100 (B1) ─┘     │      └─ server2 10.0.4.10 (B2)
 *                                control   API server 192.0.2.10, AWS 192.0.2.11
 *
 * The metadata service answers in the router's namespace. `control` is the outer namespace of the sandbox, the only
 * one with a link to the host.
 */
export const PLACES = ['client', 'controller', 'server1', 'server2'] as const;
export type PlaceName = (typeof PLACES)[number];

export const SERVERS = ['server1', 'server2'] as const satisfies readonly PlaceName[];
export type ServerName = (typeof SERVERS)[number];

export type SubnetName = 'A1' | 'A2' | 'B1' | 'B2';

export interface Site {
  readonly address: string;
  readonly gateway: string;
  readonly prefixLength: number;
  readonly subnet: SubnetName;
}

export const SITES: Readonly<Record<PlaceName, Site>> = {
  client: { address: '10.0.1.100', gateway: '10.0.1.1', prefixLength: 24, subnet: 'A1' },
  controller: { address: '10.0.3.100', gateway: '10.0.3.1', prefixLength: 24, subnet: 'B1' },
  server1: { address: '10.0.2.10', gateway: '10.0.2.1', prefixLength: 24, subnet: 'A2' },
  server2: { address: '10.0.4.10', gateway: '10.0.4.1', prefixLength: 24, subnet: 'B2' },
};

/** 192.0.2.0/24 is TEST-NET-1 (RFC 5737): outside the VPC, reached by its default route, as EKS and EC2 are. */
export const CONTROL = { link: 'control', router: '192.0.2.1', api: '192.0.2.10', aws: '192.0.2.11', prefixLength: 28 };

export const API_PORT = 6443;
export const AWS_PORT = 4566;
export const METADATA_ADDRESS = '169.254.169.254';

/** What can be cut from what. `api` and `aws` are the two addresses of `control`. */
export type Endpoint = PlaceName | 'api' | 'aws';
export const ENDPOINTS: readonly Endpoint[] = [...PLACES, 'api', 'aws'];

/** Two addresses of 198.18.0.0/15, the range for benchmarks (RFC 2544), for the link number `n` to the host. */
export function hostLinkAddresses(n: number): { host: string; sandbox: string; prefixLength: number } {
  const base = 4 * n;
  const address = (offset: number) => {
    const at = base + offset;
    return `198.${18 + (at >> 16)}.${(at >> 8) & 255}.${at & 255}`;
  };
  return { sandbox: address(1), host: address(2), prefixLength: 30 };
}
export const HOST_LINKS_MAX = 1 << 15;
