// Writes manifests/crds from the schemas: `make crds`.
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { crdFiles } from './files.ts';

const folder = new URL('../../manifests/crds/', import.meta.url);
const files = crdFiles();
mkdirSync(folder, { recursive: true });
for (const name of readdirSync(folder)) if (!files.has(name)) rmSync(new URL(name, folder));
for (const [name, text] of files) writeFileSync(new URL(name, folder), text);
