import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSdkEc2, type SdkEc2 } from '../../src/aws/sdk-ec2.ts';
import { type FaultProxy, startFaultProxy } from '../../tools/faultproxy/proxy.ts';
import { type SeededCloud, seedCloud } from '../../tools/moto/seed.ts';
import { type Moto, type MotoOptions, startMoto } from '../../tools/moto/server.ts';

/** moto behind the fault proxy, with the article's VPC in it. */
export interface Emulator {
  readonly dir: string;
  readonly moto: Moto;
  readonly proxy: FaultProxy;
  /** Goes through the proxy. */
  readonly ec2: SdkEc2;
  /** Goes straight to moto: what the test sets up and looks at, untouched by faults. */
  readonly direct: SdkEc2;
  /** Empties and seeds the cloud again, and takes all faults away. */
  reset(): Promise<SeededCloud>;
  stop(): Promise<void>;
}

export const CREDENTIALS = { accessKeyId: 'testing', secretAccessKey: 'testing' };
export const REGION = 'us-east-1';

export async function startEmulator(options: Omit<MotoOptions, 'dir'> = {}): Promise<Emulator> {
  const dir = await mkdtemp(join(tmpdir(), 'pointsman-aws-'));
  const moto = await startMoto({ dir, ...options });
  const proxy = await startFaultProxy({ target: moto.endpoint });
  const connect = (endpoint: string) => createSdkEc2({ region: REGION, endpoint, credentials: CREDENTIALS });
  const ec2 = connect(proxy.endpoint);
  const direct = connect(moto.endpoint);
  return {
    dir,
    moto,
    proxy,
    ec2,
    direct,
    reset: async () => {
      proxy.reset();
      return await seedCloud(moto.endpoint);
    },
    stop: async () => {
      ec2.close();
      direct.close();
      await proxy.stop();
      await moto.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}
