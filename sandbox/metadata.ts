import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { METADATA_ADDRESS } from './topology.ts';

/**
 * The instance metadata service, version 2 (Amazon EC2 user guide, "Use the Instance Metadata Service"): a token from
 * a PUT, given with every GET. It knows who asks by the source address, as the real one does by the host's own port.
 *
 *     node metadata.ts FILE      FILE: {"10.0.2.10": {"instance-id": "i-…", "placement/region": "…", …}}
 */
type Tree = Readonly<Record<string, string>>;

const file = process.argv[2];
if (file === undefined) throw new Error('Cannot start the metadata service: no file given');
const trees = JSON.parse(readFileSync(file, 'utf8')) as Readonly<Record<string, Tree>>; // written by the sandbox
const tokens = new Map<string, { address: string; untilMs: number }>();
const TTL_SECONDS_MAX = 21_600;
const TOKENS_MAX = 10_000;

createServer((request, response) => {
  const end = (code: number, body = '') => {
    response.writeHead(code, { 'content-type': 'text/plain', 'content-length': Buffer.byteLength(body) }).end(body);
  };
  request.resume();
  const address = request.socket.remoteAddress ?? '';
  const path = (request.url ?? '').split('?')[0] ?? '';
  if (path === '/latest/api/token') {
    const ttl = Number(request.headers['x-aws-ec2-metadata-token-ttl-seconds']);
    if (request.method !== 'PUT') return end(405);
    if (!(ttl >= 1 && ttl <= TTL_SECONDS_MAX)) return end(400);
    if (tokens.size >= TOKENS_MAX) tokens.clear();
    const token = randomBytes(40).toString('base64');
    tokens.set(token, { address, untilMs: performance.now() + ttl * 1000 });
    response.setHeader('x-aws-ec2-metadata-token-ttl-seconds', ttl);
    return end(200, token);
  }
  if (request.method !== 'GET') return end(405);
  const token = tokens.get(String(request.headers['x-aws-ec2-metadata-token']));
  if (token === undefined || token.address !== address || token.untilMs < performance.now()) return end(401);
  const tree = trees[address];
  const found = tree === undefined ? undefined : lookUp(tree, path.replace(/^\/latest\//, ''));
  return found === undefined ? end(404) : end(200, found);
}).listen(80, METADATA_ADDRESS, () => process.stdout.write('listening\n'));

/** A leaf's value, or the names in a directory: those that are directories end in a slash. */
function lookUp(tree: Tree, path: string): string | undefined {
  if (tree[path] !== undefined) return tree[path];
  const directory = path === '' || path.endsWith('/') ? path : `${path}/`;
  const names = new Set<string>();
  for (const leaf of Object.keys(tree)) {
    if (!leaf.startsWith(directory)) continue;
    const [name, ...rest] = leaf.slice(directory.length).split('/');
    names.add(rest.length > 0 ? `${name}/` : (name ?? ''));
  }
  return names.size > 0 ? [...names].join('\n') : undefined;
}
