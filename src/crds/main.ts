// Writes manifests/crds and docs/conditions.md from the schemas and the table of reasons: `make crds`.
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { crdFiles } from './files.ts';
import { reasonsDoc } from './reasonsdoc.ts';

const folder = new URL('../../manifests/crds/', import.meta.url);
const files = crdFiles();
mkdirSync(folder, { recursive: true });
for (const name of readdirSync(folder)) if (!files.has(name)) rmSync(new URL(name, folder));
for (const [name, text] of files) writeFileSync(new URL(name, folder), text);
writeFileSync(new URL('../../docs/conditions.md', import.meta.url), reasonsDoc());
