/**
 * What code in a script may name: the fields of struct tcp_info of the connection under test (tcpi_snd_cwnd is TcpInfo's
 * sndCwnd), and the kernel's constants.
 */

import type { Connection } from '../../stack/tcp/connection.ts'
import { TcpInfo, tcpInfo } from '../../stack/tcp/info.ts'
import { CONSTANTS } from './numbers.ts'
import type { Variables } from './python.ts'

const info = new TcpInfo()

/** Sets the variables anew; those of the script's own stay. */
export function setVariables(variables: Variables, connection: Connection | undefined): void {
  for (const [name, value] of CONSTANTS) variables.set(name, value)
  if (connection === undefined) return
  for (const [field, value] of Object.entries(tcpInfo(connection, info)))
    variables.set(`tcpi_${field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}`, value)
}
