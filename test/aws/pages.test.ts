import { CreateRouteTableCommand, EC2Client } from '@aws-sdk/client-ec2';
import { expect, test } from 'vitest';
import { CREDENTIALS, REGION, startEmulator } from './emulator.ts';

test('answers that come in pages, about more tables than one question may name, are read to the end', async () => {
  const aws = await startEmulator();
  try {
    const cloud = await aws.reset();
    const client = new EC2Client({ region: REGION, endpoint: aws.moto.endpoint, credentials: CREDENTIALS });
    const ids: string[] = [];
    for (let i = 0; i < 210; i++) {
      const made = await client.send(new CreateRouteTableCommand({ VpcId: cloud.vpcId }));
      ids.push(made.RouteTable?.RouteTableId ?? '');
    }
    client.destroy();

    const seen = await aws.ec2.describeRoutes([...ids, 'rtb-00000000000000000'], { timeoutMs: 60_000 });

    expect(seen.get('rtb-00000000000000000')).toBe('missing');
    expect(ids.filter((id) => seen.get(id) === 'missing')).toEqual([]);
    // 200 in two pages of 100, then 11.
    expect(aws.proxy.trace().filter((call) => call.action === 'DescribeRouteTables')).toHaveLength(3);
  } finally {
    await aws.stop();
  }
}, 180_000);
