// Writes manifests/crds and docs/conditions.md from the schemas and the table of reasons, and what Argo CD reads from
// the scripts beside it: `make crds`.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { ARGOCD_SCRIPTS, type ArgocdScripts, argocdPatch } from './argocd.ts';
import { crdFiles } from './files.ts';
import { reasonsDoc } from './reasonsdoc.ts';

const folder = new URL('../../manifests/crds/', import.meta.url);
const files = crdFiles();
mkdirSync(folder, { recursive: true });
for (const name of readdirSync(folder)) if (!files.has(name)) rmSync(new URL(name, folder));
for (const [name, text] of files) writeFileSync(new URL(name, folder), text);
writeFileSync(new URL('../../docs/conditions.md', import.meta.url), reasonsDoc());

const argocd = new URL('../../manifests/argocd/', import.meta.url);
const scripts = Object.fromEntries(
  ARGOCD_SCRIPTS.map((name) => [name, readFileSync(new URL(`lua/${name}.lua`, argocd), 'utf8')]),
) as ArgocdScripts; // fromEntries forgets the keys, which are those of the list
writeFileSync(new URL('argocd-cm.yaml', argocd), argocdPatch(scripts));
