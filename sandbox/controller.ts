import { INSIDE } from './inside-api.ts';
import { inNetwork } from './network.ts';
import { type Daemon, startDaemon } from './run.ts';
import { AWS_PORT, CONTROL } from './topology.ts';

/** A replica of the controller's Deployment. */
export interface Controller {
  start(): void;
  stop(): Promise<void>;
  kill(signal: NodeJS.Signals): void;
  pid(): number | undefined;
}

/** Where it finds its kubeconfig. */
export const CONTROLLER_STATE = `${INSIDE.directory}/state/controller`;

/** A Deployment restarts its containers; here too, until it is stopped. */
const RESTART_MS = 200;

/** `name`: of its log. Candidates tell themselves apart by themselves. */
export function makeController(checkout: string, name: string, resync: string | null): Controller {
  let daemon: Daemon | undefined;
  let wanted = false;
  const keep = () => {
    if (!wanted || daemon !== undefined) return;
    const started = startDaemon({
      name,
      logFile: `${INSIDE.logs}/${name}.log`,
      // nsenter without a pid namespace becomes what it starts: the pid is the controller's.
      command: [...inNetwork('controller'), process.execPath, `${checkout}/dist/controller.mjs`],
      cwd: CONTROLLER_STATE,
      env: {
        PATH: process.env['PATH'],
        HOME: CONTROLLER_STATE,
        KUBECONFIG: `${CONTROLLER_STATE}/kubeconfig`,
        AWS_REGION: 'us-east-1',
        AWS_ENDPOINT_URL: `http://${CONTROL.aws}:${AWS_PORT}`,
        AWS_ACCESS_KEY_ID: 'controller',
        AWS_SECRET_ACCESS_KEY: 'controller',
        AWS_EC2_METADATA_DISABLED: 'true',
        // Two of them share a network here; pods do not.
        ...(name === 'controller' ? {} : { POINTSMAN_HEALTH_PORT: '8082' }),
        ...(resync === null ? {} : { POINTSMAN_RESYNC: resync }),
      },
    });
    daemon = started;
    void started.exited.then(() => {
      daemon = undefined;
      setTimeout(keep, RESTART_MS);
    });
  };
  return {
    start: () => {
      wanted = true;
      keep();
    },
    stop: async () => {
      wanted = false;
      await daemon?.stop();
    },
    kill: (signal) => daemon?.kill(signal),
    pid: () => daemon?.pid,
  };
}
