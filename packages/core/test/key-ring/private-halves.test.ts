import { expect, it } from 'vitest';
import { World, type Instance } from '../support/world.ts';

/** Past the moment at which the second key takes over; nobody has committed anything since. */
async function afterTakeover(): Promise<{ world: World; instance: Instance; first: string; second: string }> {
  const world = new World();
  const instance = await world.start();
  const first = instance.activeKid;
  await world.clock.advance('33m');
  await instance.rotator.checkAndRotateKeys();
  const second = instance.pendingKid;
  await world.clock.advance(1100);
  return { world, instance, first, second };
}

it.each([
  ['a rewrap', async ({ rotator }: Instance) => rotator.rewrap({ force: true })],
  ['a rotation by command', async ({ rotator }: Instance) => rotator.rotateNow()],
  [
    'a heal',
    async (instance: Instance, _kid: string, world: World) => {
      world.shared.wipe();
      await instance.keyRing.refresh();
    },
  ],
  ['a revocation', async ({ rotator }: Instance, kid: string) => rotator.revoke(kid, { reason: 'test' })],
] as const)('P5: %s that comes before the rotator destroys what no longer signs', async (_, command) => {
  const { world, instance, first, second } = await afterTakeover();
  await instance.keyRing.refresh();
  expect(instance.key(first)?.hasPrivateKey, 'nobody has destroyed it yet').toBe(true);

  await command(instance, second, world);

  const { keys } = await world.shared.document();
  expect(
    keys.find(({ kid }) => kid === first)?.hasPrivateKey,
    'the first commit after a key stopped signing must destroy its private half, whatever it is for',
  ).toBe(false);
});
