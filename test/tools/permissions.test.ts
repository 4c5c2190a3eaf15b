import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateRouteCommand, DescribeRouteTablesCommand, EC2Client, StopInstancesCommand } from '@aws-sdk/client-ec2';
import { expect, test } from 'vitest';
import { seedCloud } from '../../tools/moto/seed.ts';
import { startMoto } from '../../tools/moto/server.ts';

test('a policy that names one route table and one instance allows those and denies the others', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'pointsman-moto-'));
  const moto = await startMoto({ dir });
  try {
    const cloud = await seedCloud(moto.endpoint);
    const allowed = `arn:aws:ec2:*:*:route-table/${cloud.routeATableId}`;
    const credentials = await makeUser(moto.endpoint, [
      { Effect: 'Allow', Action: 'ec2:DescribeRouteTables', Resource: '*' },
      { Effect: 'Allow', Action: 'ec2:CreateRoute', Resource: allowed },
      {
        Effect: 'Allow',
        Action: ['ec2:StopInstances', 'ec2:StartInstances'],
        Resource: `arn:aws:ec2:*:*:instance/${cloud.server1.instanceId}`,
      },
    ]);
    await fetch(`${moto.endpoint}/moto-api/reset-auth`, {
      method: 'POST',
      headers: { 'content-type': 'text/plain' },
      body: '0',
    });
    const ec2 = new EC2Client({ region: cloud.region, endpoint: moto.endpoint, credentials, maxAttempts: 1 });
    const create = (RouteTableId: string) =>
      ec2.send(
        new CreateRouteCommand({
          RouteTableId,
          DestinationCidrBlock: '10.1.0.20/32',
          NetworkInterfaceId: cloud.server1.networkInterfaceId,
        }),
      );
    expect((await ec2.send(new DescribeRouteTablesCommand({}))).RouteTables).not.toEqual([]);
    await create(cloud.routeATableId);
    await expect(create(cloud.routeBTableId)).rejects.toMatchObject({
      name: 'UnauthorizedOperation',
      $metadata: { httpStatusCode: 403 },
    });
    const stop = (InstanceId: string, DryRun: boolean) =>
      ec2.send(new StopInstancesCommand({ InstanceIds: [InstanceId], Force: true, DryRun }));
    await expect(stop(cloud.server1.instanceId, true)).rejects.toMatchObject({ name: 'DryRunOperation' });
    for (const dryRun of [true, false])
      await expect(stop(cloud.server2.instanceId, dryRun)).rejects.toMatchObject({ name: 'UnauthorizedOperation' });
    await stop(cloud.server1.instanceId, false);
    ec2.destroy();
  } finally {
    await moto.stop();
    await rm(dir, { recursive: true, force: true });
  }
}, 180_000);

/** By IAM's query protocol, which asks for no signature until permissions are enforced. */
async function makeUser(endpoint: string, statements: object[]) {
  const policy = JSON.stringify({ Version: '2012-10-17', Statement: statements });
  await iam(endpoint, { Action: 'CreateUser', UserName: 'controller' });
  await iam(endpoint, {
    Action: 'PutUserPolicy',
    UserName: 'controller',
    PolicyName: 'controller',
    PolicyDocument: policy,
  });
  const answer = await iam(endpoint, { Action: 'CreateAccessKey', UserName: 'controller' });
  const field = (name: string) => new RegExp(`<${name}>([^<]+)<`).exec(answer)?.[1] ?? '';
  return { accessKeyId: field('AccessKeyId'), secretAccessKey: field('SecretAccessKey') };
}

async function iam(endpoint: string, parameters: Record<string, string>): Promise<string> {
  const answer = await fetch(endpoint, {
    method: 'POST',
    headers: { authorization: 'AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-1/iam/aws4_request, Signature=x' },
    body: new URLSearchParams({ Version: '2010-05-08', ...parameters }),
  });
  return await answer.text();
}
