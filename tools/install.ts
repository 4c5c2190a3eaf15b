import { describeError } from '../src/base/errors.ts';
import { describeLacks, findLacks } from './check.ts';
import { toolPath } from './locate.ts';
import { TOOL_NAMES } from './versions.ts';

/**
 * `node tools/install.ts`: checks what the machine must have, then gets every tool, one after the other (a Go build
 * uses all cores by itself). Ends with 1 and says everything that is missing, when something is.
 */
const lacks = await findLacks();
if (lacks.length > 0) {
  process.stderr.write(`Cannot install the tools: this machine lacks\n${describeLacks(lacks)}\n`);
  process.exit(1);
}

let failed = false;
for (const name of TOOL_NAMES) {
  try {
    process.stdout.write(`${name}: ${await toolPath(name)}\n`);
  } catch (error) {
    failed = true;
    process.stderr.write(`${describeError(error)}\n`);
  }
}
process.exit(failed ? 1 : 0);
